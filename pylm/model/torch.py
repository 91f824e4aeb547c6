"""The model in torch: a decoder of pre-norm blocks, each part of it chosen by a field of the shape.

It knows arithmetic only: what compiles it, spreads it over devices or writes it to files finds plain modules.

What a module adds to the residual stream is added late. A block hands on the stream and its last branch apart, and the
next norm adds the two in the pass that reads them anyway, instead of one pass over memory for the sum and another for
the norm: on two threads of a CPU 2.7 times as fast as torch.compile's add and norm, and 13 times as eager torch's.

    stream   branch   the norm reads both, and writes      the module reads x
    ------   ------   ------------------------------------  ----------------------
    s0       none     x = norm(s0)                          a0 = attention(x)       block 0
    s0       a0       x = norm(s1), s1 = s0 + a0            m0 = mlp(x)
    s1       m0       x = norm(s2), s2 = s1 + m0            a1 = attention(x)       block 1
    ...      ...      x = norm(s + m), after the last one   logits = head(x)

Letters after names: B batch, T time, C width (d_model), H heads, K heads of keys and values, D width of a head,
F width inside the MLP, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn
from torch.nn import functional

import pylm_kernels as kernels
from pylm import native_kernels
from pylm.config.schema import Model as Shape
from pylm.errors import CheckpointError, UsageError
from pylm.model import names, parameters
from pylm.model.masks import Masks
from pylm.model.torch_codecs import Copied
from pylm.model.torch_dropout import dropped, keys_on, words_on
from pylm.model.torch_lora import AdaptedLinear, after_norm

__all__ = ["Cache", "Model", "load"]

native_kernels.register()

# Rows of the vocabulary's matrices come in multiples of this, so that products have no odd edge; the padding is zero,
# has no logit and no gradient, and is in no file
PADDING = 64
WEIGHTS = ("F64", "F32", "BF16", "F16")  # safetensors' words for what a file of weights may hold
FUSED = {"cpu": "cpu", "cuda": "triton"}  # what computes `attention: fused` in torch, by device


class Cache(Protocol):
    """A store of the keys and values of tokens that were seen. The model asks it for positions and lets it attend."""

    def positions(self, idx: torch.Tensor) -> torch.Tensor:
        """Return where each token of idx [B, T] stands in its sequence, as int64 [B, T]."""
        ...

    def attend(
        self,
        layer: int,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        *,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> torch.Tensor:
        """Store k and v [B, T, K, D]; return the attention of q [B, T, H, D] to all that is stored: [B, T, H, D]."""
        ...

    def last(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the row of hidden [B, T, C] at each sequence's last real position: [B, C]."""
        ...


class Shared(NamedTuple):
    """The arguments that every block of a pass is given."""

    idx_BT: torch.Tensor
    embedded_BTC: torch.Tensor
    rope: kernels.Rope | None
    documents: kernels.Documents | None
    cache: Cache | None
    keys: torch.Tensor | None  # two of dropout's for each block


class Attention(nn.Module):
    """One projection to queries, keys and values, attention, one projection back: [B, T, C] to [B, T, C].

    The projection's rows are those of H queries, K keys and K values, each D wide, one head after the other. Fused
    attention reads its output [B, T, (H + 2 K) D] where it lies: nobody copies the three apart.
    """

    def __init__(self, shape: Shape, layer: int) -> None:
        """Make the modules, empty."""
        super().__init__()
        self.shape, self.layer = shape, layer
        width, vocab_size = _all(shape.d_model, shape.vocab_size)
        self.n_heads, self.n_kv_heads = _all(shape.n_heads, shape.n_kv_heads)
        (self.head_dim,) = _all(shape.head_dim)
        heads_width, kv_width = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        self.norm = _norm(shape, width)
        self.qkv = nn.Linear(width, heads_width + 2 * kv_width, bias=shape.qkv_bias)
        self.q_norm = _rms_norm(shape, self.head_dim) if shape.qk_norm else None
        self.k_norm = _rms_norm(shape, self.head_dim) if shape.qk_norm else None
        valued = parameters.valued(shape, layer)
        self.value = _table(vocab_size, kv_width) if valued else None
        self.value_lambdas = nn.Parameter(torch.empty(2)) if valued else None
        self.out = nn.Linear(heads_width, width, bias=shape.out_bias)

    def forward(self, x_BTC: torch.Tensor, read_BTC: torch.Tensor, shared: Shared) -> torch.Tensor:
        """Return what the tokens before each one add to it; x is what the norm gave of what it read."""
        (packed,) = after_norm((self.qkv,), x_BTC, read_BTC, self.norm)
        rope, cache = shared.rope, shared.cache
        norms: dict[str, Any] = {"eps": self.shape.norm_eps}
        if rope is not None and self.q_norm is not None and self.k_norm is not None:
            norms |= {"q_weight": self._gain(self.q_norm, packed), "k_weight": self._gain(self.k_norm, packed)}
        window, softcap = self.shape.window, self.shape.attention_softcap
        if cache is not None:
            q_BTHD, k_BTKD, v_BTKD = self._heads(packed, shared)
            if rope is not None:
                q_BTHD, k_BTKD = kernels.qk_norm_rope(q_BTHD, k_BTKD, rope=rope, **norms)
            scale = 1 / math.sqrt(self.head_dim)
            o_BTHD = cache.attend(self.layer, q_BTHD, k_BTKD, v_BTKD, scale=scale, window=window, softcap=softcap)
        else:
            # the kernel reads the projection as it is, and normalises and rotates q and k meanwhile, unless a part of
            # it comes first: value embeddings are added to v, and the kernel has no norms without rope
            as_it_is = self.value is None and (self.q_norm is None or rope is not None)
            o_BTHD = kernels.rope_attention(
                *((packed,) if as_it_is else self._heads(packed, shared)),
                rope=rope,
                n_heads=self.n_heads,
                n_kv_heads=self.n_kv_heads,
                window=window,
                softcap=softcap,
                cu_seqlens=shared.documents,
                backend=self._backend(packed.device),
                **norms,
            )
        out: torch.Tensor = self.out(o_BTHD.flatten(2))
        return out

    def _heads(self, packed: torch.Tensor, shared: Shared) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return queries, keys and values, with everything done to them but what needs positions."""
        heads = packed.view(*packed.shape[:2], -1, self.head_dim)
        keys_end = self.n_heads + self.n_kv_heads
        q_BTHD, k_BTKD, v_BTKD = (
            heads[:, :, : self.n_heads],
            heads[:, :, self.n_heads : keys_end],
            heads[:, :, keys_end:],
        )
        if self.value is not None and self.value_lambdas is not None:
            embedded_BTKD = self.value(shared.idx_BT).view(v_BTKD.shape)
            v_BTKD = self.value_lambdas[0] * v_BTKD + self.value_lambdas[1] * embedded_BTKD
        if shared.rope is None and self.q_norm is not None and self.k_norm is not None:
            q_BTHD, k_BTKD = self.q_norm(q_BTHD), self.k_norm(k_BTKD)
        return q_BTHD, k_BTKD, v_BTKD

    def _gain(self, norm: kernels.RMSNorm, packed: torch.Tensor) -> torch.Tensor:
        """Return the gain by which kernels know that heads are normalised: ones, where none is learned."""
        return packed.new_ones(self.head_dim) if norm.weight is None else norm.weight

    def _backend(self, device: torch.device) -> str | None:
        asked = self.shape.attention
        if asked == "fused" and device.type not in FUSED:
            raise UsageError(
                f"attention: fused has no kernel for torch on {device.type}",
                "take attention: auto" + (", or the backend mlx, whose kernels are Metal's" * (device.type == "mps")),
            )
        return None if asked == "auto" else FUSED[device.type] if asked == "fused" else asked


class MLP(nn.Module):
    """The half of a block that looks at each token alone."""

    def __init__(self, shape: Shape) -> None:
        """Make the modules, empty."""
        super().__init__()
        width, inner = _all(shape.d_model, shape.d_ff)
        self.kind = shape.mlp
        self.norm = _norm(shape, width)
        self.gate = nn.Linear(width, inner, bias=shape.bias) if shape.mlp == "swiglu" else None
        self.up = nn.Linear(width, inner, bias=shape.bias)
        self.down = nn.Linear(inner, width, bias=shape.bias)

    def forward(self, x_BTC: torch.Tensor, read_BTC: torch.Tensor) -> torch.Tensor:
        """Return what the token adds to itself; x is what the norm gave of what it read."""
        if self.gate is not None:
            gate_BTF, up_BTF = after_norm((self.gate, self.up), x_BTC, read_BTC, self.norm)
            if isinstance(self.down, AdaptedLinear):
                return self.down.after_swiglu(gate_BTF, up_BTF)
            inner_BTF = kernels.swiglu(gate_BTF, up_BTF)
        else:
            (up_BTF,) = after_norm((self.up,), x_BTC, read_BTC, self.norm)
            inner_BTF = kernels.gelu(up_BTF, approximate="tanh") if self.kind == "gelu" else kernels.relu2(up_BTF)
        down: torch.Tensor = self.down(inner_BTF)
        return down


class Block(nn.Module):
    """Attention, then the MLP, each added to the stream that runs through all blocks, by the norm that comes next."""

    def __init__(self, shape: Shape, layer: int) -> None:
        """Make the modules, empty."""
        super().__init__()
        self.attention = Attention(shape, layer)
        self.mlp = MLP(shape)
        self.residual_lambdas = nn.Parameter(torch.empty(2)) if shape.residual_lambdas else None
        self.dropout = shape.dropout

    def forward(
        self, stream_BTC: torch.Tensor, branch_BTC: torch.Tensor | None, shared: Shared
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the stream, and the branch that is still to be added to it: the next norm adds while it reads."""
        if self.residual_lambdas is not None:
            stream_BTC = stream_BTC if branch_BTC is None else stream_BTC + branch_BTC
            stream_BTC = self.residual_lambdas[0] * stream_BTC + self.residual_lambdas[1] * shared.embedded_BTC
            branch_BTC = None
        x_BTC, stream_BTC = _add_norm(self.attention.norm, stream_BTC, branch_BTC)
        branch_BTC = self._drop(self.attention(x_BTC, stream_BTC, shared), shared.keys, 0)
        x_BTC, stream_BTC = _add_norm(self.mlp.norm, stream_BTC, branch_BTC)
        return stream_BTC, self._drop(self.mlp(x_BTC, stream_BTC), shared.keys, 1)

    def _drop(self, branch_BTC: torch.Tensor, keys: torch.Tensor | None, which: int) -> torch.Tensor:
        return branch_BTC if keys is None else dropped(branch_BTC, keys[which], self.dropout)


class Model(nn.Module):
    """A language model of a completed shape (`pylm.config.shape.complete`), its weights drawn from `generator`."""

    def __init__(
        self,
        shape: Shape,
        *,
        generator: torch.Generator | None = None,
        draw: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Make the weights and initialise them, on the CPU.

        Args:
            shape: every field of it known.
            generator: of the CPU; torch's own where None.
            draw: False leaves them at zero, for somebody who loads others.
            dtype: of the weights.
        """
        super().__init__()
        self.shape = shape
        n_layers, width, self.vocab_size, head_dim = _all(
            shape.n_layers, shape.d_model, shape.vocab_size, shape.head_dim
        )
        rows = -(-self.vocab_size // PADDING) * PADDING
        with torch.device("meta"):  # nothing is drawn twice
            self.embed = _table(rows, width)
            self.position = _table(shape.context_length, width) if shape.position == "learned" else None
            self.embed_norm = _norm(shape, width) if shape.embed_norm else None
            self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(n_layers))
            self.norm = _norm(shape, width)
            self.head = None if shape.tied else nn.Linear(width, rows, bias=False)
        self.masks = Masks(0)  # of dropout; what trains gives it a seed
        self.adapted: list[AdaptedLinear] = []  # whose adapters drop inputs
        self.rope: kernels.Rope | None = None
        if shape.position == "rope":
            self.rope = kernels.Rope(
                head_dim,
                theta=shape.rope_theta,
                scaling=shape.rope_scaling,
                max_positions=shape.context_length,
            )
        for module in self.modules():  # `to_empty` would import sympy
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(torch.zeros(parameter.shape, dtype=dtype)))
        if draw:
            self._initialise(generator)
        for table in (self.embed, self.head):
            if table is not None:
                table.weight.detach()[self.vocab_size :].zero_()

    def forward(
        self,
        idx: torch.Tensor,
        targets: torch.Tensor | None = None,
        cache: Cache | None = None,
        cu_seqlens: torch.Tensor | None = None,
    ) -> Any:
        """Return logits of the real vocabulary.

        Args:
            idx: tokens, int64 [B, T].
            targets: the tokens that come next; -100 where none is asked for.
            cache: of what came before idx.
            cu_seqlens: document ends over the flattened batch, 0 first; tokens see their own document only.

        Returns:
            Logits [B, T, V]; with targets (logits, mean loss); with a cache the logits [B, V] of the last position.
        """
        hidden_BTC = self._hidden(idx, cache, cu_seqlens)
        if cache is not None:
            return self._logits(cache.last(hidden_BTC))
        logits_BTV = self._logits(hidden_BTC)
        if targets is None:
            return logits_BTV
        return logits_BTV, kernels.cross_entropy(logits_BTV, targets)

    def loss(self, idx: torch.Tensor, targets: torch.Tensor, cu_seqlens: torch.Tensor | None = None) -> torch.Tensor:
        """Return the mean loss over targets that are not -100, whose logits are never stored."""
        hidden_BTC = self._hidden(idx, None, cu_seqlens)
        return kernels.linear_cross_entropy(hidden_BTC, self._head(), targets, softcap=self.shape.logit_softcap)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the parameters by name as they are saved: detached, sharing memory, without the padding."""
        return {name: self._real(name, parameter.detach()) for name, parameter in self.named_parameters()}

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take all weights but adapters, as `weights` gives them, cast to the dtype that the model is in."""
        mine = {name: tensor for name, tensor in self.weights().items() if ".lora_" not in name}
        given = weights.stored if isinstance(weights, Copied) else weights
        parameters.misfit(*({name: tuple(one.shape) for name, one in side.items()} for side in (mine, given)))
        for name, tensor in mine.items():
            tensor.copy_(weights[name])

    def _hidden(self, idx_BT: torch.Tensor, cache: Cache | None, cu_seqlens: torch.Tensor | None) -> torch.Tensor:
        """Return the normalised stream after the last block."""
        if cache is None and idx_BT.shape[1] > self.shape.context_length:
            raise UsageError(
                f"{idx_BT.shape[1]} tokens are more than the model's context_length {self.shape.context_length}"
            )
        # the padding has rows that would answer; a GPU would have to be waited for, and there the loader's word counts
        if idx_BT.device.type == "cpu" and not torch.compiler.is_compiling() and idx_BT.numel():
            if not 0 <= int(idx_BT.min()) <= int(idx_BT.max()) < self.vocab_size:
                raise UsageError(
                    f"tokens from {int(idx_BT.min())} to {int(idx_BT.max())} leave the vocabulary of {self.vocab_size}"
                )
        # made once a batch: blocks see one shape of tensors, however many documents there are
        documents = None if cu_seqlens is None else kernels.Documents.of(cu_seqlens, *idx_BT.shape)
        positions = None if cache is None else cache.positions(idx_BT)
        stream_BTC = self.embed(idx_BT)
        if self.position is not None:
            stream_BTC = stream_BTC + self.position(_positions(idx_BT, documents) if positions is None else positions)
        if self.embed_norm is not None:
            stream_BTC = self.embed_norm(stream_BTC)
        keys: torch.Tensor | None = None
        if (self.shape.dropout or self.adapted) and self.training:
            drawn, places = self.masks.keys(2 * len(self.blocks) + 1 + len(self.adapted)), 2 * len(self.blocks) + 1
            if self.shape.dropout:
                keys = keys_on(drawn[:places], idx_BT.device)
                stream_BTC = dropped(stream_BTC, keys[0, 0], self.shape.dropout)
            if self.adapted:
                for linear, key in zip(self.adapted, words_on(drawn[places:], idx_BT.device), strict=True):
                    linear.key = key
        rope = self.rope if positions is None or self.rope is None else self.rope.at(positions)
        shared = Shared(idx_BT, stream_BTC, rope, documents, cache, None)
        branch_BTC: torch.Tensor | None = None
        for layer, block in enumerate(self.blocks, 1):
            shared_with_keys = shared if keys is None else shared._replace(keys=keys[layer])
            stream_BTC, branch_BTC = block(stream_BTC, branch_BTC, shared_with_keys)
        return _add_norm(self.norm, stream_BTC, branch_BTC)[0]

    def _head(self) -> torch.Tensor:
        if isinstance(self.head, AdaptedLinear):
            return self.head.whole()
        weight_VC = self.embed.weight if self.head is None else self.head.weight
        return weight_VC if len(weight_VC) == self.vocab_size else weight_VC[: self.vocab_size]

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = functional.linear(hidden, self._head())
        cap = self.shape.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def _real(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        return tensor[: self.vocab_size] if name in ("embed.weight", "head.weight") else tensor

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator | None) -> None:
        """Draw the matrices from normal distributions; only real rows are drawn, so padding changes nothing."""
        starts = parameters.parameters(self.shape)
        for name, tensor in self.weights().items():
            if starts[name].std:
                tensor.normal_(0.0, starts[name].std, generator=generator)
            else:
                tensor.copy_(torch.tensor(starts[name].start))


def load(opened: names.Opened, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Model:
    """Return the model of a checkpoint opened by `pylm.checkpoint.open_weights`, in our layout or Hugging Face's."""
    shape, stored = names.read(opened)
    for name, tensor in stored.items():
        if tensor.dtype not in WEIGHTS:
            raise CheckpointError(f"{name} is of type {tensor.dtype}, and weights are {', '.join(WEIGHTS)}")
    model = Model(shape, draw=False, dtype=dtype)
    model.load_weights(Copied(stored))
    return model.to(device).eval()


def _all(*sizes: int | None) -> tuple[int, ...]:
    """Return the sizes of a completed shape."""
    if None in sizes:
        raise UsageError("the shape of the model is open", "complete it first: pylm.config.shape.complete")
    return tuple(size for size in sizes if size is not None)


def _table(rows: int, width: int) -> nn.Embedding:
    """Return a table that nobody draws: to draw on the meta device torch would import its compiler, in seconds."""
    return nn.Embedding(rows, width, _weight=torch.empty(rows, width))


def _norm(shape: Shape, width: int) -> nn.Module:
    if shape.norm == "rmsnorm":
        return _rms_norm(shape, width)
    return kernels.LayerNorm(width, shape.norm_eps, bias=shape.bias)


def _rms_norm(shape: Shape, width: int) -> kernels.RMSNorm:
    return kernels.RMSNorm(width, shape.norm_eps, elementwise_affine=shape.norm_gain)


def _add_norm(norm: nn.Module, stream: torch.Tensor, branch: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the norm of the stream with the branch added, and the stream itself."""
    if branch is None:
        return norm(stream), stream
    normed, added = norm(branch, stream)
    return normed, added


def _positions(idx_BT: torch.Tensor, documents: kernels.Documents | None) -> torch.Tensor:
    """Return positions that count up in each row, and start again in each document."""
    within = torch.arange(idx_BT.shape[1], device=idx_BT.device)
    return within.expand(idx_BT.shape) if documents is None else within - documents.starts
