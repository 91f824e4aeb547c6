"""The decoder of pylm.model.torch in MLX: functions of a dictionary of weights, so that all of it can be transformed.

Letters after names: B batch, T time, C width (d_model), H heads, K heads of keys and values, D width of a head,
F width inside the MLP, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import mlx.core as mx
import numpy as np

from pylm.config.schema import Model as Shape
from pylm.errors import UsageError
from pylm.model import names
from pylm.model.lora import Adapter
from pylm.model.mlx.attention import attend, need_kernel
from pylm.model.mlx.codecs import from_stored
from pylm.model.mlx.dropout import dropped
from pylm.model.mlx.loss import capped, head_loss
from pylm.model.parameters import misfit, parameters
from pylm_kernels import mlx as kernels

__all__ = ["Cache", "Model", "load"]

Weights = Mapping[str, Any]


class Cache(Protocol):
    """A store of the keys and values of tokens that were seen. The model asks it for positions and lets it attend."""

    def positions(self, time: int) -> Any:
        """Return where each of so many new tokens stands in its sequence, as integers [B, T]."""
        ...

    def attend(self, layer: int, q: Any, k: Any, v: Any, *, window: int | None, softcap: float | None) -> Any:
        """Store k and v [B, T, K, D]; return the attention of q [B, T, H, D] to all that is stored: [B, T, H, D]."""
        ...

    def last(self, hidden: Any) -> Any:
        """Return the rows of hidden [B, T, C] that become logits."""
        ...


class Shared(NamedTuple):
    """The arguments that every block of a pass is given: arrays, or None."""

    idx_BT: Any
    rope: kernels.Rope | None
    documents: kernels.Documents | None
    cache: Cache | None
    kept: Mapping[str, Any]  # keys of what adapters drop, by the name of their linear


class Model:
    """A language model of a completed shape.

    The methods that take weights are pure: what computes gradients, compiles or checkpoints hands its own in.
    """

    def __init__(
        self, shape: Shape, weights: Weights, *, checkpoint: bool = False, adapter: Adapter | None = None
    ) -> None:
        """Take the weights, which must be those of the shape.

        Args:
            shape: every field of it known.
            weights: by our names, without padding, all of one dtype.
            checkpoint: let each block forget what it computed, and compute it again for its gradients.
            adapter: what lies beside the weights; its factors are among them.
        """
        mine = {name: one.shape for name, one in parameters(shape).items()}
        mine |= {} if adapter is None else adapter.sizes(shape)
        misfit(mine, {name: one.shape for name, one in weights.items()})
        self._scale = 0.0 if adapter is None else adapter.scale
        self._dropped = 0.0 if adapter is None else adapter.dropout
        self._dropping = (
            [name for name in adapter.modules(shape) if name != "embed"] if adapter and self._dropped else []
        )
        if shape.attention == "fused":
            need_kernel()
        assert shape.n_layers and shape.n_heads and shape.n_kv_heads and shape.head_dim and shape.vocab_size
        self.shape, self.weights = shape, dict(weights)
        self.vocab_size, self.n_layers, self.n_heads = shape.vocab_size, shape.n_layers, shape.n_heads
        self.head_dim = shape.head_dim
        self._checkpoint = checkpoint
        self._rope: kernels.Rope | None = None
        if shape.position == "rope":
            self._rope = kernels.Rope(
                self.head_dim,
                theta=shape.rope_theta,
                scaling=shape.rope_scaling,
                max_positions=shape.context_length,
            )

    def __call__(self, idx: Any, targets: Any = None, cache: Cache | None = None, cu_seqlens: Any = None) -> Any:
        """Return logits of the vocabulary, in float32.

        Args:
            idx: tokens, [B, T], as an array or as lists.
            targets: the tokens that come next; -100 where none is asked for.
            cache: of what came before idx.
            cu_seqlens: document ends over the flattened batch, 0 first; tokens see their own document only.

        Returns:
            Logits [B, T, V]; with targets (logits, mean loss); with a cache the logits of its last positions.
        """
        idx_BT = self._checked(idx)
        ends = None if cu_seqlens is None else mx.array(np.asarray(cu_seqlens, np.int32))
        hidden_BTC = self.hidden(self.weights, idx_BT, ends, cache=cache)
        if cache is not None:
            return self.logits(self.weights, cache.last(hidden_BTC))
        logits = self.logits(self.weights, hidden_BTC)
        return logits if targets is None else (logits, kernels.cross_entropy(logits, mx.array(targets)))

    @property
    def places(self) -> int:
        """How many keys of dropout a pass takes; 0 where nothing is dropped."""
        return 2 * self.n_layers + 1 + len(self._dropping) if self.shape.dropout or self._dropping else 0

    def loss(
        self, weights: Weights, idx: Any, targets: Any, cu_seqlens: Any = None, keys: Any = None, factor: Any = None
    ) -> Any:
        """Return the mean loss over targets that are not -100, times `factor`; its logits are never all stored.

        Args:
            weights: to be differentiated by.
            idx: tokens, [B, T].
            targets: the tokens that come next.
            cu_seqlens: document ends, as an array; the last one may stand there more than once.
            keys: of dropout, one, two a block, and one an adapter that drops; None drops nothing.
            factor: a float32 scalar.
        """
        hidden_BTC = self.hidden(weights, idx, cu_seqlens, keys)
        factor = mx.array(1.0) if factor is None else factor
        flat = hidden_BTC.reshape(-1, hidden_BTC.shape[-1])
        return head_loss(flat, self._head(weights), targets.reshape(-1), factor, self.shape.logit_softcap)

    def hidden(
        self, weights: Weights, idx_BT: Any, cu_seqlens: Any = None, keys: Any = None, cache: Cache | None = None
    ) -> Any:
        """Return the normalised stream after the last block."""
        shape = self.shape
        documents = None if cu_seqlens is None else kernels.Documents.of(cu_seqlens, *idx_BT.shape)
        positions = None if cache is None else cache.positions(idx_BT.shape[1])
        stream_BTC = weights["embed.weight"][idx_BT]
        if "embed.lora_a" in weights:
            stream_BTC = stream_BTC + self._scale * (weights["embed.lora_a"].T[idx_BT] @ weights["embed.lora_b"].T)
        if shape.position == "learned":
            at = _positions(idx_BT.shape, documents) if positions is None else positions
            stream_BTC = stream_BTC + weights["position.weight"][at]
        if shape.embed_norm:
            stream_BTC = self._norm(weights, "embed_norm", None, stream_BTC)[0]
        if keys is not None and shape.dropout:
            stream_BTC = dropped(stream_BTC, keys[0], shape.dropout)
        rope = self._rope if positions is None or self._rope is None else self._rope.at(positions)
        kept = (
            {} if keys is None else {name: keys[2 * self.n_layers + 1 + at] for at, name in enumerate(self._dropping)}
        )
        shared = Shared(idx_BT, rope, documents, cache, kept)
        embedded_BTC, branch_BTC = stream_BTC, None
        for layer in range(self.n_layers):
            prefix = f"blocks.{layer}."
            part = {name[len(prefix) :]: weights[name] for name in weights if name.startswith(prefix)}
            two = None if keys is None else keys[2 * layer + 1 : 2 * layer + 3]
            block = functools.partial(self._block, layer=layer, keys=two, shared=shared)
            # what has a gradient is handed over; the rest is as it was when the block is computed again
            run = mx.checkpoint(block) if self._checkpoint else block
            stream_BTC, branch_BTC = run(part, stream_BTC, branch_BTC, embedded_BTC)
        return self._norm(weights, "norm", branch_BTC, stream_BTC)[0]

    def logits(self, weights: Weights, hidden: Any) -> Any:
        """Return logits of some rows of the stream, in float32."""
        return capped((hidden @ self._head(weights).T).astype(mx.float32), self.shape.logit_softcap)

    def _block(
        self, part: Weights, stream: Any, branch: Any, embedded: Any, *, layer: int, keys: Any, shared: Shared
    ) -> tuple[Any, Any]:
        """Return the stream, and the branch that is still to be added to it: the next norm adds while it reads."""
        if "residual_lambdas" in part:
            lambdas = part["residual_lambdas"]
            stream = stream if branch is None else stream + branch
            stream, branch = lambdas[0] * stream + lambdas[1] * embedded, None
        x_BTC, stream = self._norm(part, "attention.norm", branch, stream)
        branch = self._drop(self._attention(part, x_BTC, layer, shared), keys, 0)
        x_BTC, stream = self._norm(part, "mlp.norm", branch, stream)
        return stream, self._drop(self._mlp(part, x_BTC, layer, shared), keys, 1)

    def _attention(self, part: Weights, x_BTC: Any, layer: int, shared: Shared) -> Any:
        """Return what the tokens before each one add to it; x is normalised."""
        shape, rope, cache = self.shape, shared.rope, shared.cache
        packed = self._linear(part, "attention.qkv", x_BTC, layer, shared)
        limits: dict[str, Any] = {"window": shape.window, "softcap": shape.attention_softcap}
        norms: dict[str, Any] = {"eps": shape.norm_eps}
        if shape.qk_norm and rope is not None:
            norms |= {f"{one}_weight": self._gain(part, one, packed.dtype) for one in "qk"}
        if cache is None and shape.attention in ("auto", "fused"):
            # the kernel reads the projection as it is, unless something is done to a part of it first
            as_it_is = "attention.value.weight" not in part and (not shape.qk_norm or rope is not None)
            heads: Any = (packed,) if as_it_is else self._heads(part, packed, shared)
            sizes: dict[str, Any] = {"n_heads": self.n_heads, "n_kv_heads": shape.n_kv_heads}
            settings = {"rope": rope, "cu_seqlens": shared.documents, **sizes, **limits, **norms}
            mixed = kernels.rope_attention(*heads, **settings)
        else:
            q_BTHD, k_BTKD, v_BTKD = self._heads(part, packed, shared)
            if rope is not None:
                docs = shared.documents
                q_BTHD, k_BTKD = kernels.qk_norm_rope(q_BTHD, k_BTKD, rope=rope, cu_seqlens=docs, **norms)
            if cache is not None:
                mixed = cache.attend(layer, q_BTHD, k_BTKD, v_BTKD, **limits)
            else:
                starts = None if shared.documents is None else shared.documents.starts
                mixed = attend(q_BTHD, k_BTKD, v_BTKD, how=shape.attention, starts=starts, **limits)
        return self._linear(part, "attention.out", mixed.reshape(*packed.shape[:2], -1), layer, shared)

    def _heads(self, part: Weights, packed: Any, shared: Shared) -> tuple[Any, Any, Any]:
        """Return queries, keys and values, with everything done to them but what needs positions."""
        assert self.shape.n_kv_heads is not None
        heads = packed.reshape(*packed.shape[:2], -1, self.head_dim)
        q_BTHD, k_BTKD, v_BTKD = mx.split(heads, [self.n_heads, self.n_heads + self.shape.n_kv_heads], axis=2)
        if "attention.value.weight" in part:
            embedded_BTKD = part["attention.value.weight"][shared.idx_BT].reshape(v_BTKD.shape)
            lambdas = part["attention.value_lambdas"]
            v_BTKD = lambdas[0] * v_BTKD + lambdas[1] * embedded_BTKD
        if shared.rope is None and self.shape.qk_norm:
            eps = self.shape.norm_eps
            q_BTHD = kernels.rms_norm(q_BTHD, self._gain(part, "q", q_BTHD.dtype), eps=eps)
            k_BTKD = kernels.rms_norm(k_BTKD, self._gain(part, "k", k_BTKD.dtype), eps=eps)
        return q_BTHD, k_BTKD, v_BTKD

    def _gain(self, part: Weights, one: str, dtype: Any) -> Any:
        """Return the gain by which kernels know that heads are normalised: ones, where none is learned."""
        return part[f"attention.{one}_norm.weight"] if self.shape.norm_gain else mx.ones((self.head_dim,), dtype)

    def _mlp(self, part: Weights, x_BTC: Any, layer: int, shared: Shared) -> Any:
        """Return what the token adds to itself; x is normalised."""
        up_BTF = self._linear(part, "mlp.up", x_BTC, layer, shared)
        if self.shape.mlp == "swiglu":
            inner_BTF = kernels.swiglu(self._linear(part, "mlp.gate", x_BTC, layer, shared), up_BTF)
        elif self.shape.mlp == "gelu":
            inner_BTF = kernels.gelu(up_BTF, approximate="tanh")
        else:
            inner_BTF = kernels.relu2(up_BTF)
        return self._linear(part, "mlp.down", inner_BTF, layer, shared)

    def _linear(self, part: Weights, name: str, x: Any, layer: int, shared: Shared) -> Any:
        """Return W x + b, and beside it scale B A x where the linear is adapted."""
        y = _linear(part, name, x)
        if f"{name}.lora_a" not in part:
            return y
        key = shared.kept.get(f"blocks.{layer}.{name}")
        kept = x if key is None else dropped(x, key, self._dropped)
        return y + self._scale * ((kept @ part[f"{name}.lora_a"].T) @ part[f"{name}.lora_b"].T)

    def _norm(self, weights: Weights, name: str, x: Any, residual: Any) -> tuple[Any, Any]:
        """Return the norm of the stream with the branch added, and the stream itself."""
        weight, bias = weights.get(f"{name}.weight"), weights.get(f"{name}.bias")
        if self.shape.norm == "rmsnorm":
            vectors: dict[str, Any] = {"weight": weight}
            norm: Any = kernels.rms_norm
        else:
            vectors, norm = {"weight": weight, "bias": bias}, kernels.layer_norm
        if x is None:
            return norm(residual, eps=self.shape.norm_eps, **vectors), residual
        normed, added = norm(x, eps=self.shape.norm_eps, residual=residual, **vectors)
        return normed, added

    def _drop(self, branch: Any, keys: Any, which: int) -> Any:
        return branch if keys is None or not self.shape.dropout else dropped(branch, keys[which], self.shape.dropout)

    def _head(self, weights: Weights) -> Any:
        weight = weights["embed.weight" if self.shape.tied else "head.weight"]
        if "head.lora_a" not in weights:
            return weight
        return weight + self._scale * (weights["head.lora_b"] @ weights["head.lora_a"])

    def _checked(self, idx: Any) -> Any:
        """Return tokens as an array that a table can be read by, once they are known to be in it."""
        tokens = np.asarray(idx, np.int32)
        if tokens.shape[1] > self.shape.context_length:
            raise UsageError(
                f"{tokens.shape[1]} tokens are more than the model's context_length {self.shape.context_length}"
            )
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < self.vocab_size:
            raise UsageError(f"tokens from {tokens.min()} to {tokens.max()} leave the vocabulary of {self.vocab_size}")
        return mx.array(tokens)


def load(opened: names.Opened, dtype: Any = mx.float32) -> Model:
    """Return the model of a checkpoint opened by `pylm.checkpoint.open_weights`, in our layout or Hugging Face's."""
    shape, stored = names.read(opened)
    return Model(shape, {name: array.astype(dtype) for name, array in from_stored(stored).items()})


def _positions(size: tuple[int, ...], documents: kernels.Documents | None) -> Any:
    """Return positions [B or 1, T] that count up in each row, and start again in each document."""
    within = mx.arange(size[1])[None]
    return within if documents is None else within - documents.starts


def _linear(weights: Weights, name: str, x: Any) -> Any:
    weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    return x @ weight.T if bias is None else mx.addmm(bias, x, weight.T)
