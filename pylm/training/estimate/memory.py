"""What a run holds in memory, part by part: what training in torch allocates, in its order, laid out in a heap.

The order is that of model/torch.py, of autograd through it, and of torch_backend/backend.py; where these change, so
does this (tests/training/test_estimate_memory.py holds it against torch's own count of what is allocated).

Letters: N tokens of a pass, d the width, f the width inside the MLP, H and K heads of queries and of keys and values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod

from pylm.config.schema import Model as Shape
from pylm.model.parameters import parameters, valued
from pylm.training.estimate.heap import Heap, Place
from pylm.training.estimate.muon import muon
from pylm.training.estimate.pairs import head_of_pairs
from pylm.training.trained import EVERYTHING, Trained

__all__ = ["BYTES", "CHUNK", "Memory", "Run", "Usage", "moments", "used"]

PADDING = 64  # of the vocabulary's rows (model/torch.py)
TRIED = 3  # passes of a micro-batch that is tried: a fourth changes nothing
REPEATED = 2  # passes of a step: those after the second find the places of the one before
CHUNK = 384  # rows of logits at a time (native_kernels/losses.py)
KEPT = {"fp32": (2 << 10,), "bf16": (252_000, 252_000), "fp16": (252_000, 252_000)}
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True)
class Run:
    """What of a run decides how much memory it takes."""

    shape: Shape
    precision: str
    optimizer: str
    checkpointing: bool
    rows: int  # of a pass
    passes: int  # of a step
    tried: tuple[int, ...] = ()  # rows of the passes that are tried before it starts
    evaluated: int = 0  # rows of an evaluation's batch; 0: nothing is evaluated
    evaluated_at_once: int = 1  # of which so many have logits at a time
    saves_on_the_way: bool = False  # steps are taken while a checkpoint is written
    stores_logits: bool = False  # no kernel here keeps from it
    fast_bf16: bool = True  # Muon's products are computed in it
    averages: bool = False  # the weights
    trained: Trained = EVERYTHING


def moments(optimizer: str, name: str, dimensions: int) -> int:
    """Return how many fp32 tensors an optimizer keeps for a parameter: Muon keeps one for a matrix of a block."""
    table = name.endswith(("embed.weight", "position.weight", "value.weight", "head.weight"))
    return 1 if optimizer == "muon" and dimensions == 2 and not table else 2


@dataclass(frozen=True)
class Usage:
    """Bytes of the heap at its largest, and what was live when most was."""

    heap: int
    live: int
    parts: Mapping[str, int]


def used(run: Run) -> Usage:
    """Return what a run takes: it is made, tried, stepped, evaluated and saved, in a heap of figures."""
    from pylm.training.estimate.adapted import memory_of

    memory = memory_of(run)
    memory.make()
    for rows in run.tried:
        for _ in range(TRIED):
            memory.step(rows, 1)
    count = sum(memory.sizes.values())
    memory.heap.give(*[memory.take("measuring", min(count, 4 << 20), 4) for _ in range(4)])
    memory.heap.give(*[memory.take("measuring", 1 << 20, 4) for _ in range(3)])
    for _ in range(2):  # the second finds the places that the first one left
        memory.step(run.rows, run.passes, steps=True)
    if run.evaluated:
        memory.evaluate()
    copies = memory.copies()
    if run.saves_on_the_way:
        memory.step(run.rows, run.passes, steps=True)
    memory.heap.give(*copies)
    return Usage(memory.heap.peak, memory.heap.live_peak, memory.heap.parts_at_peak)


class Memory:
    """The heap of a run, and what it does there."""

    def __init__(self, run: Run) -> None:
        """Begin with nothing in it."""
        self.run, self.shape, self.heap = run, run.shape, Heap()
        self.c = BYTES[run.precision]
        shape = run.shape
        assert shape.n_layers and shape.d_model and shape.d_ff and shape.n_heads and shape.n_kv_heads
        assert shape.head_dim and shape.vocab_size
        self.layers, self.d, self.f = shape.n_layers, shape.d_model, shape.d_ff
        self.q, self.k = shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
        self.packed = self.q + 2 * self.k
        self.heads = shape.n_heads
        self.vocabulary = shape.vocab_size
        self.padded = -(-self.vocabulary // PADDING) * PADDING
        self.sizes = {name: prod(one.shape) for name, one in parameters(shape).items()}
        self.shapes = {name: one.shape for name, one in parameters(shape).items()}
        tables = {"embed.weight", "head.weight"}
        self.wide = {name: self.padded * self.d if name in tables else size for name, size in self.sizes.items()}
        self.rope, self.of_head = shape.position == "rope", "embed.weight" if shape.tied else "head.weight"
        self.threads: dict[str, Place] = {}
        self.known: set[tuple[str, int]] = set()
        self.pinned: set[tuple[str, int, int]] = set()
        self.flows = True  # a gradient, back to the tables of tokens

    def pin(self, key: tuple[str, int, int]) -> None:
        """Leave what stays at the top of the heap, once for each key."""
        if key not in self.pinned:
            self.pinned.add(key)
            self.heap.pin()

    def product(self, name: str, n: int) -> None:
        """A product of matrices of new sizes leaves something behind, small, that lies where the heap was then free."""
        if (name, n) not in self.known:
            self.known.add((name, n))
            for size in KEPT[self.run.precision]:
                self.heap.take("kept", size)

    def take(self, part: str, numbers: float, each: float | None = None) -> Place:
        """Return a place for so many numbers of what is computed in, or of so many bytes each."""
        return self.heap.take(part, numbers * (self.c if each is None else each))

    # The model

    def make(self) -> None:
        """Weights are drawn in fp32; masters, the copies that compute, moments."""
        model = {name: self.take("weights", size, 4) for name, size in self.wide.items()}
        if self.c < 4:
            for size in self.sizes.values():
                self.take("weights", size, 4)
            for name, size in self.wide.items():
                self.take("compute copies", size)
                self.heap.give(model[name])
        for name, size in sorted(self.sizes.items()):
            for _ in range(self.moments(name)):
                self.take("moments", size, 4)
        if self.run.averages:
            for size in self.sizes.values():
                self.take("average", size, 4)

    def moments(self, name: str) -> int:
        """Return how many tensors the optimizer keeps for a parameter: none where none of it learns."""
        learns = self.run.trained.rows(name) is not None
        return moments(self.run.optimizer, name, len(self.shapes[name])) if learns else 0

    # A step

    def step(self, rows: int, passes: int, steps: bool = False) -> None:
        """Passes forward and backward, then, where it `steps`, the optimizer."""
        gradients: dict[str, Place] = {}
        sums: dict[str, Place] = {}
        for _ in range(min(passes, REPEATED)):
            self.one_pass(rows * self.shape.context_length, gradients)
            if passes > 1 and self.c < 4:
                for name, place in sorted(gradients.items()):
                    if name not in sums:
                        sums[name] = self.take("gradients", self.wide[name], 4)
                    else:
                        self.heap.give(self.take("gradients", self.wide[name], 4))
                    self.heap.give(place)
                gradients = {}
        if steps and self.run.optimizer == "muon":
            muon(self)
        self.heap.give(*gradients.values(), *sums.values())

    def one_pass(self, n: int, gradients: dict[str, Place]) -> None:
        """A pass of n tokens forward and backward."""
        stream = self.take("activations", n * self.d)
        if self.shape.position == "learned":
            positions, added = self.take("activations", n * self.d), self.take("activations", n * self.d)
            self.heap.give(stream, positions)
            stream = added
        raw: list[Place] = []
        if self.shape.embed_norm:
            raw = [stream, self.take("activations", self.statistics(n), 4)]
            stream = self.take("activations", n * self.d)
            self.heap.give(*(() if self.flows else raw))
        saved: list[dict[str, Place]] = []
        branch: Place | None = None
        first = stream
        for layer in range(self.layers):
            kept, stream, new = self.block(n, layer, stream, branch)
            if self.run.checkpointing:
                keep = {"stream": stream}
                if branch is not None:
                    keep["branch"] = branch
                self.heap.give(*(place for place in kept.values() if place is not stream))
                kept = keep
            elif branch is not None:
                self.heap.give(branch)
            branch = new
            saved.append(kept)
            self.pin(("forward", n, layer))
        normed, summed = self.take("activations", n * self.d), self.take("activations", n * self.d)
        statistics = self.take("activations", self.statistics(n), 4)
        assert branch is not None
        self.heap.give(branch)
        if self.shape.residual_lambdas and not self.flows:
            self.heap.give(first)
            first = 0, 0, ""
        scaled, head = self.head(n, normed)
        if self.padded > self.vocabulary and head[1]:
            whole = self.take("gradients", self.padded * self.d)
            self.heap.give(head)
            head = whole
        dstream = self.take("activations", n * self.d)
        self.heap.give(scaled, summed, statistics)
        for layer in reversed(range(self.layers)):
            kept = saved[layer]
            if self.run.checkpointing:
                before = saved[layer - 1]["stream"] if layer else first
                again, _, new = self.block(n, layer, before, kept.get("branch"))
                self.heap.give(new)
                dstream = self.block_backward(n, layer, again, dstream, gradients)
                self.heap.give(*kept.values())
            else:
                dstream = self.block_backward(n, layer, kept, dstream, gradients)
            self.pin(("backward", n, layer))
        if self.shape.embed_norm and self.flows:
            before = self.take("activations", n * self.d)
            self.heap.give(dstream, first, raw[1])
            dstream, first = before, raw[0]
        if self.shape.position == "learned":
            self.accumulate("position.weight", gradients)
        table = self.gradient_of("embed.weight", self.padded)
        self.heap.give(dstream, first)
        if self.shape.tied:
            self.heap.give(table)
            self.add("embed.weight", head, gradients)
        else:
            self.add("head.weight", head, gradients)
            self.add("embed.weight", table, gradients)

    def head(self, n: int, normed: Place) -> tuple[Place, Place]:
        """Return the gradients of what the head reads, which is freed, and of its weight."""
        if self.run.trained.dpo_beta is not None:
            return head_of_pairs(self, n, normed)
        # gradients of x and of the weight are made while a chunk of logits exists
        rows = n if self.run.stores_logits else min(CHUNK, n)
        losses = self.take("activations", 2 * n, 4)
        logits = self.take("logits", rows * self.vocabulary, self.c + (4 + 4 if self.run.stores_logits else 0))
        dx, head_gradient = self.take("activations", n * self.d), self.gradient_of_head()
        self.product("head", n)
        if ("scratch", 0) not in self.known:
            self.known.add(("scratch", 0))
            self.heap.take("kept", 192 * 4 * self.d if self.c < 4 else 3.5e6)
            self.heap.take("kept", 375000)
        self.heap.give(logits)
        scaled, head = self.take("activations", n * self.d), self.gradient_of_head()
        self.heap.give(head_gradient, dx, losses, normed)
        return scaled, head

    def gradient_of_head(self) -> Place:
        """A place for the gradient of the head's real rows, where they learn."""
        return self.gradient_of(self.of_head, self.vocabulary)

    def gradient_of(self, name: str, rows: int) -> Place:
        """A place for the gradient of so many rows of a table; no bytes where none of them learns."""
        return self.take("gradients", 0 if self.run.trained.rows(name) is None else rows * self.d)

    def add(self, name: str, place: Place, gradients: dict[str, Place]) -> None:
        """A gradient of a parameter: it is the first, or is added to the one that is there."""
        if name in gradients:
            self.heap.give(place)
        else:
            gradients[name] = place

    def accumulate(self, name: str, gradients: dict[str, Place]) -> None:
        """Make the gradient of a parameter, where it learns."""
        if self.run.trained.rows(name) is not None:
            self.add(name, self.take("gradients", self.wide[name]), gradients)

    def statistics(self, n: int) -> int:
        """Return how many numbers a norm keeps beside its rows."""
        return n if self.shape.norm == "rmsnorm" else 2 * n

    def block(self, n: int, layer: int, stream: Place, branch: Place | None) -> tuple[dict[str, Place], Place, Place]:
        """Return what a block keeps for the backward pass, its stream, and its branch."""
        kept: dict[str, Place] = {}
        keep = partial(self.keep, kept)
        if self.shape.residual_lambdas:
            if branch is not None:
                keep("lambda input", n * self.d)
            scaled = [self.take("activations", n * self.d) for _ in range(2)]
            stream = keep("mixed", n * self.d)
            self.heap.give(*scaled)
        keep("normed 1", n * self.d)
        if branch is not None and not self.shape.residual_lambdas:
            stream = keep("stream 1", n * self.d)
        keep("statistics 1", self.statistics(n), 4)
        keep("packed", n * self.packed)
        self.product("qkv", n)
        self.attend(n, layer, kept)
        attended = self.take("activations", n * self.d)
        self.product("out", n)
        self.pin(("middle", n, layer))
        keep("normed 2", n * self.d)
        stream = keep("stream 2", n * self.d)
        keep("statistics 2", self.statistics(n), 4)
        if self.shape.mlp == "swiglu":
            keep("gate", n * self.f)
        keep("up", n * self.f)
        self.product("up", n)
        keep("inner", n * self.f)
        new = self.take("activations", n * self.d)
        self.product("down", n)
        self.heap.give(attended)
        return kept, stream, new

    def keep(self, kept: dict[str, Place], name: str, numbers: float, each: float | None = None) -> Place:
        """Return a place that a block keeps for the backward pass."""
        kept[name] = self.take("activations", numbers, each)
        return kept[name]

    def attend(self, n: int, layer: int, kept: dict[str, Place]) -> None:
        """Keep what attention does."""
        keep = partial(self.keep, kept)
        if valued(self.shape, layer):
            keep("embedded", n * self.k)
            scaled = [self.take("activations", n * self.k) for _ in range(2)]
            keep("values", n * self.k)
            self.heap.give(*scaled)
        if self.rope:
            keep("q", n * self.q)
            if self.shape.qk_norm:
                keep("q statistics", n * self.heads, 4)
            keep("k", n * self.k)
        keep("o", n * self.q)
        keep("lse", n * self.heads, 4)

    def block_backward(
        self, n: int, layer: int, kept: dict[str, Place], dstream: Place, gradients: dict[str, Place]
    ) -> Place:
        """Return the gradient of the stream before the block, having freed what the block kept."""
        name = f"blocks.{layer}"
        free = self.heap.give

        def take(numbers: float, each: float | None = None) -> Place:
            return self.take("activations", numbers, each)

        dnormed = self.mlp_backward(n, layer, kept, gradients)
        after = take(n * self.d)
        free(dstream, dnormed, kept.pop("stream 2"), kept.pop("statistics 2"))
        dstream = after
        do = self.linear_backward(n, f"{name}.attention.out", self.q, gradients)
        unused = [take(n * self.heads, 4)]  # gradients of what attention keeps for itself: zeros
        if self.rope:
            unused += [take(n * self.q), take(n * self.k)]
        dpacked = take(n * self.packed)
        turned = [take(n * self.q), take(n * self.k)] if self.rope else []
        self.scratch("attention backward", 4 * 860)
        free(*turned, *unused, do)
        for one in ("packed", "values", "embedded", "o", "lse", "q", "k", "q statistics"):
            if one in kept:
                free(kept.pop(one))
        if valued(self.shape, layer):
            self.accumulate(f"{name}.attention.value.weight", gradients)
        return self.entered(n, layer, kept, dstream, dpacked, gradients)

    def entered(
        self, n: int, layer: int, kept: dict[str, Place], dstream: Place, dpacked: Place, gradients: dict[str, Place]
    ) -> Place:
        """Return the gradient of the stream before a block by that of what its first linear gave."""
        free = self.heap.give
        dnormed = self.linear_backward(n, f"blocks.{layer}.attention.qkv", self.d, gradients)
        free(dpacked, kept.pop("normed 1"))
        after = self.take("activations", n * self.d)
        if layer:
            free(dstream, dnormed)
            dstream = after
        else:  # its stream is what the norm read: the two gradients are added up where the first one lies
            free(dnormed, after)
        free(*kept.values())
        return dstream

    def mlp_backward(self, n: int, layer: int, kept: dict[str, Place], gradients: dict[str, Place]) -> Place:
        """Return the gradient of what the MLP read, having freed what it kept."""
        dinner = self.linear_backward(n, f"blocks.{layer}.mlp.down", self.f, gradients)
        self.heap.give(kept.pop("inner"))
        dup = self.take("activations", n * self.f)
        if self.shape.mlp == "swiglu":
            dgate = self.take("activations", n * self.f)
            self.heap.give(dinner, kept.pop("gate"), kept.pop("up"))
            first = self.linear_backward(n, f"blocks.{layer}.mlp.gate", self.d, gradients)
            self.heap.give(dgate)
            second = self.linear_backward(n, f"blocks.{layer}.mlp.up", self.d, gradients)
            self.heap.give(dup, kept.pop("normed 2"))
            dnormed = self.take("activations", n * self.d)
            self.heap.give(first, second)
        else:
            self.heap.give(dinner, kept.pop("up"))
            dnormed = self.linear_backward(n, f"blocks.{layer}.mlp.up", self.d, gradients)
            self.heap.give(dup, kept.pop("normed 2"))
        return dnormed

    def linear_backward(self, n: int, name: str, width: int, gradients: dict[str, Place]) -> Place:
        """Return the gradient of what a linear layer read, having made that of its weight."""
        self.accumulate(f"{name}.weight", gradients)
        kind = name.partition(".")[2].partition(".")[2].replace("gate", "up")
        self.product(f"{kind} dW", n)
        dx = self.take("activations", n * width)
        self.product(f"{kind} dx", n)
        return dx

    def scratch(self, name: str, size: int) -> None:
        """A thread's own memory, kept; a later one that needs more of it takes another place."""
        if name not in self.threads:
            self.threads[name] = self.heap.take("kept", size)

    # What is done beside the passes

    def evaluate(self) -> None:
        """A batch without gradients, some rows at a time, whose logits exist."""
        # the average stands where the weights do, which are kept meanwhile
        kept = [self.take("evaluation", size) for size in self.sizes.values()] if self.run.averages else []
        for left in range(self.run.evaluated, 0, -self.run.evaluated_at_once):
            rows = min(self.run.evaluated_at_once, left)
            self.heap.give(self.evaluate_rows(rows * self.shape.context_length))
        self.heap.give(*kept)

    def evaluate_rows(self, n: int) -> Place:
        """Return the logits of a pass without gradients."""
        stream = self.take("evaluation", n * self.d)
        if self.shape.embed_norm:
            normed = self.take("evaluation", n * self.d)
            self.heap.give(stream)
            stream = normed
        branch: Place | None = None
        for layer in range(self.layers):
            stream, branch = self.evaluate_block(n, layer, stream, branch)
        normed, summed = self.take("evaluation", n * self.d), self.take("evaluation", n * self.d)
        assert branch is not None
        self.heap.give(stream, branch, summed)
        logits = self.take("logits", n * self.vocabulary)
        self.product("logits", n)
        if self.c < 4:
            self.pin(("logits", n, 0))
        if self.shape.logit_softcap:
            divided = self.take("logits", n * self.vocabulary)
            self.heap.give(logits)
            bent = self.take("logits", n * self.vocabulary)
            self.heap.give(divided)
            logits = self.take("logits", n * self.vocabulary)
            self.heap.give(bent)
        self.heap.give(normed)
        return logits

    def evaluate_block(self, n: int, layer: int, stream: Place, branch: Place | None) -> tuple[Place, Place]:
        """Return the stream and the branch behind a block."""

        def take(numbers: float) -> Place:
            return self.heap.take("evaluation", numbers * self.c)

        free = self.heap.give
        normed = take(n * self.d)
        summed = take(n * self.d) if branch is not None else None
        packed = take(n * self.packed)
        self.product("qkv", n)
        turned = [take(n * self.q), take(n * self.k)] if self.rope else []
        o = take(n * self.q)
        free(*turned)
        attended = take(n * self.d)
        self.product("out", n)
        free(o, packed)
        again, added = take(n * self.d), take(n * self.d)
        free(normed, *([summed] if summed else []))
        gate = [take(n * self.f)] if self.shape.mlp == "swiglu" else []
        up = take(n * self.f)
        self.product("up", n)
        inner = take(n * self.f)
        free(*gate)
        new = take(n * self.d)
        self.product("down", n)
        free(up, inner, stream, attended, again, *([branch] if branch else []))
        return added, new

    def copies(self) -> list[Place]:
        """The copies that a thread writes to the disk: masters, then moments."""
        each = self.sizes.values()
        masters = [self.take("checkpoint", size, 4) for _ in range(1 + self.run.averages) for size in each]
        moments = [
            self.take("checkpoint", size, 4)
            for name, size in sorted(self.sizes.items())
            for _ in range(self.moments(name))
        ]
        return masters + moments
