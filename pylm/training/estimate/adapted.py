"""What a run that trains adapters holds in memory: weights without masters, and of a block less than all of it.

The order is that of model/torch_lora.py; where it changes, so does this.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING

from pylm.model.growing import TABLES
from pylm.model.lora import LINEARS
from pylm.training.estimate.memory import Memory

if TYPE_CHECKING:
    from pylm.training.estimate.heap import Place
    from pylm.training.estimate.memory import Run

__all__ = ["memory_of"]


def memory_of(run: Run) -> Memory:
    """Return the heap of a run, empty."""
    return Memory(run) if run.trained.adapter is None else _Adapted(run)


class _Adapted(Memory):
    """The heap of a run that trains adapters."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        trained = run.trained
        assert trained.adapter is not None
        self.adapter, self.flows = trained.adapter, bool(trained.new) or "embed" in trained.adapter.targets
        self.base = dict(self.wide)
        factors = {name: prod(shape) for name, shape in self.adapter.sizes(self.shape).items()}
        self.wide |= factors
        new = len(trained.new or ())
        rows = {name: new * self.shapes[name][1] for name in self.shapes if new and name.endswith(TABLES)}
        self.learning = factors | rows
        self.ranks = {one: self.adapter.rank if one in self.adapter.targets else 0 for one in LINEARS}

    def make(self) -> None:
        """The base is in what is computed in and in nothing else; masters, copies and moments are the adapters'."""
        for size in self.base.values():
            self.take("weights", size)
        for part, each, times in (("adapters", 4, 1), ("adapters", self.c, self.c < 4), ("moments", 4, 2)):
            for size in self.learning.values():
                for _ in range(times):
                    self.take(part, size, each)
        if self.run.averages:
            for size in self.learning.values():
                self.take("average", size, 4)

    def copies(self) -> list[Place]:
        """The copies that a thread writes to the disk: of adapters alone."""
        times = 3 + self.run.averages
        return [self.take("checkpoint", size, 4) for _ in range(times) for size in self.learning.values()]

    def block(self, n: int, layer: int, stream: Place, branch: Place | None) -> tuple[dict[str, Place], Place, Place]:
        """Return what a block keeps for the backward pass, its stream, and its branch."""
        kept: dict[str, Place] = {}
        keep, flows = partial(self.keep, kept), layer > 0 or self.flows
        if self.shape.residual_lambdas:
            added = [self.take("activations", n * self.d)] if branch is not None else []
            scaled = [self.take("activations", n * self.d) for _ in range(2)]
            stream = keep("stream 1", n * self.d)
            self.heap.give(*scaled, *added)
        normed = self.take("activations", n * self.d)
        if branch is not None and not self.shape.residual_lambdas:
            stream = keep("stream 1", n * self.d)
        statistics = keep("statistics 1", self.statistics(n), 4)
        if not flows:
            self.heap.give(statistics)
            del kept["statistics 1"]
        keep("low qkv", n * self.ranks["attention.qkv"])
        keep("packed", n * self.packed)
        self.product("qkv", n)
        self.attend(n, layer, kept)
        keep("low out", n * self.ranks["attention.out"])
        attended = self.take("activations", n * self.d)
        self.product("out", n)
        self.pin(("middle", n, layer))
        normed_2 = self.take("activations", n * self.d)
        stream = keep("stream 2", n * self.d)
        keep("statistics 2", self.statistics(n), 4)
        self.heap.give(normed)
        for name in ("gate", "up") if self.shape.mlp == "swiglu" else ("up",):
            keep(f"low {name}", n * self.ranks[f"mlp.{name}"])
            keep(name, n * self.f)
        self.product("up", n)
        inner = self.take("activations", n * self.f)
        keep("low down", n * self.ranks["mlp.down"])
        new = self.take("activations", n * self.d)
        self.product("down", n)
        if self.shape.mlp != "swiglu" and self.ranks["mlp.down"]:
            kept["inner"] = inner
        else:
            self.heap.give(inner)
        self.heap.give(attended, normed_2)
        return kept, stream, new

    def attend(self, n: int, layer: int, kept: dict[str, Place]) -> None:
        """Keep what attention does, and not what values were mixed of: by how much stays."""
        super().attend(n, layer, kept)
        if "embedded" in kept:
            self.heap.give(kept.pop("embedded"))

    def mlp_backward(self, n: int, layer: int, kept: dict[str, Place], gradients: dict[str, Place]) -> Place:
        """Return the gradient of what the MLP read: what its norm gave is computed again, and swiglu."""
        names, free, inner = (["gate", "up"] if self.shape.mlp == "swiglu" else ["up"]), self.heap.give, []
        if self.shape.mlp == "swiglu" and self.ranks["mlp.down"]:
            inner = [self.take("activations", n * self.f)]
        dinner = self.linear_backward(n, f"blocks.{layer}.mlp.down", self.f, gradients)
        if "inner" in kept:
            free(kept.pop("inner"))
        outputs = [self.take("activations", n * self.f) for _ in names]
        free(dinner, *inner, *(kept.pop(name) for name in names))
        dnormed = self.after_norm(n, [f"blocks.{layer}.mlp.{name}" for name in names], gradients, flows=True)
        free(*outputs, *(place for name, place in kept.items() if name in ("low gate", "low up", "low down")))
        for name in ("low gate", "low up", "low down"):
            kept.pop(name, None)
        return dnormed

    def entered(
        self, n: int, layer: int, kept: dict[str, Place], dstream: Place, dpacked: Place, gradients: dict[str, Place]
    ) -> Place:
        """Return the gradient of the stream before a block: none flows on from the first, whose tokens stay."""
        flows = layer > 0 or self.flows
        dnormed = self.after_norm(n, [f"blocks.{layer}.attention.qkv"], gradients, flows=flows)
        self.heap.give(dpacked)
        if flows:
            after = self.take("activations", n * self.d)
            self.heap.give(dstream, dnormed)
            dstream = after
        self.heap.give(*kept.values())
        return dstream

    def after_norm(self, n: int, names: list[str], gradients: dict[str, Place], *, flows: bool) -> Place:
        """Return the gradient of what a norm gave linears, having made those of their factors."""
        rank = sum(self.ranks[name.partition(".")[2].partition(".")[2]] for name in names)
        lows = [self.take("activations", n * rank) for _ in range(2)]
        self.heap.give(lows[0])
        dnormed = self.take("activations", n * self.d * flows)
        normed = self.take("activations", n * self.d * bool(rank))
        for name in names:
            self.factors(name, gradients)
        self.heap.give(lows[1], normed)
        return dnormed

    def linear_backward(self, n: int, name: str, width: int, gradients: dict[str, Place]) -> Place:
        """Return the gradient of what a linear layer read, having made those of its factors."""
        rank = self.ranks[name.partition(".")[2].partition(".")[2]]
        lows = [self.take("activations", n * rank) for _ in range(2)]
        self.heap.give(lows[0])
        dx = self.take("activations", n * width)
        self.factors(name, gradients)
        self.heap.give(lows[1])
        return dx

    def factors(self, name: str, gradients: dict[str, Place]) -> None:
        """Make the gradients of a linear's factors, where it has any."""
        for factor in (f"{name}.lora_a", f"{name}.lora_b"):
            if factor in self.learning:
                self.add(factor, self.take("gradients", self.learning[factor]), gradients)
