"""The decoder of pylm.model.torch in MLX: functions of a dictionary of weights, so that all of it can be transformed.

Letters after names: B batch, T time, C width (d_model), H heads, K heads of keys and values, D width of a head,
F width inside the MLP, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import mlx.core as mx
import numpy as np

from pylm.config.schema import Model as Shape
from pylm.errors import UsageError
from pylm.model import names
from pylm.model.mlx.attention import attend, rope_tables, rotated, seen
from pylm.model.mlx.dropout import dropped
from pylm.model.mlx.loss import capped, head_loss
from pylm.model.mlx.tensors import from_stored
from pylm.model.parameters import misfit, parameters
from pylm_kernels import mlx as kernels

__all__ = ["Cache", "Model", "document_starts", "load"]

Weights = Mapping[str, Any]


class Cache(Protocol):
    """Keys and values of tokens that were seen; the model asks it for positions and lets it attend."""

    def positions(self, time: int) -> Any:
        """Where each of so many new tokens stands in its sequence, as integers [B, T]."""
        ...

    def attend(self, layer: int, q: Any, k: Any, v: Any, *, window: int | None, softcap: float | None) -> Any:
        """Store k and v [B, T, K, D], and attend q [B, T, H, D] to all that is stored: [B, T, H, D]."""
        ...

    def last(self, hidden: Any) -> Any:
        """The rows of hidden [B, T, C] that become logits."""
        ...


class Shared(NamedTuple):
    """What every block of a pass is given: arrays, or None."""

    idx_BT: Any
    embedded_BTC: Any
    cos: Any
    sin: Any
    mask: Any  # a "causal" one is none


class Model:
    """A language model of a completed shape.

    The methods that take weights are pure: what computes gradients, compiles or checkpoints hands its own in.
    """

    def __init__(self, shape: Shape, weights: Weights, *, checkpoint: bool = False) -> None:
        """Take the weights, which must be those of the shape.

        Args:
            shape: every field of it known.
            weights: by our names, without padding, all of one dtype.
            checkpoint: let each block forget what it computed, and compute it again for its gradients.
        """
        mine = parameters(shape)
        misfit({name: one.shape for name, one in mine.items()}, {name: one.shape for name, one in weights.items()})
        if shape.attention == "fused":
            _only_on_metal()
        assert shape.n_layers and shape.n_heads and shape.n_kv_heads and shape.d_model and shape.vocab_size
        self.shape, self.weights = shape, dict(weights)
        self.vocab_size, self.n_layers, self.n_heads = shape.vocab_size, shape.n_layers, shape.n_heads
        self.head_dim = shape.d_model // shape.n_heads
        self._cos = self._sin = None
        if shape.position == "rope":
            self._cos, self._sin = rope_tables(self.head_dim, shape.rope_theta, shape.context_length)
        self._block = mx.checkpoint(self._block_plainly) if checkpoint else self._block_plainly

    def __call__(self, idx: Any, targets: Any = None, cache: Cache | None = None, cu_seqlens: Any = None) -> Any:
        """Logits of the vocabulary, in float32.

        Args:
            idx: tokens, [B, T], as an array or as lists.
            targets: the tokens that come next; -100 where none is asked for.
            cache: of what came before idx.
            cu_seqlens: document ends over the flattened batch, 0 first; tokens see their own document only.

        Returns:
            Logits [B, T, V]; with targets (logits, mean loss); with a cache the logits of its last positions.
        """
        idx_BT = self._checked(idx)
        starts = None if cu_seqlens is None else mx.array(document_starts(cu_seqlens, *idx_BT.shape))
        hidden_BTC = self.hidden(self.weights, idx_BT, starts, cache=cache)
        if cache is not None:
            return self.logits(self.weights, cache.last(hidden_BTC))
        logits = self.logits(self.weights, hidden_BTC)
        return logits if targets is None else (logits, kernels.cross_entropy(logits, mx.array(targets)))

    def loss(
        self, weights: Weights, idx: Any, targets: Any, starts: Any = None, keys: Any = None, factor: Any = None
    ) -> Any:
        """The mean loss over targets that are not -100, times `factor`; its logits are never all stored.

        Args:
            weights: to be differentiated by.
            idx: tokens, [B, T].
            targets: the tokens that come next.
            starts: of `document_starts`, as an array.
            keys: of dropout, one and two a block; None drops nothing.
            factor: a float32 scalar.
        """
        hidden_BTC = self.hidden(weights, idx, starts, keys)
        factor = mx.array(1.0) if factor is None else factor
        flat = hidden_BTC.reshape(-1, hidden_BTC.shape[-1])
        return head_loss(flat, self._head(weights), targets.reshape(-1), factor, self.shape.logit_softcap)

    def hidden(
        self, weights: Weights, idx_BT: Any, starts: Any = None, keys: Any = None, cache: Cache | None = None
    ) -> Any:
        """The normalised stream after the last block."""
        shape, time = self.shape, idx_BT.shape[1]
        if cache is not None:
            positions = cache.positions(time)
        else:
            positions = mx.arange(time) if starts is None else mx.arange(time) - starts
        stream_BTC = weights["embed.weight"][idx_BT]
        if shape.position == "learned":
            stream_BTC = stream_BTC + weights["position.weight"][positions]
        if keys is not None and shape.dropout:
            stream_BTC = dropped(stream_BTC, keys[0], shape.dropout)
        cos = sin = mask = None
        if self._cos is not None and self._sin is not None:
            cos, sin = self._cos[positions], self._sin[positions]
        if cache is None and (starts is not None or shape.window is not None):
            mask = seen(mx.arange(time)[None], mx.arange(time), shape.window, starts)
        shared = Shared(idx_BT, stream_BTC, cos, sin, mask)
        branch_BTC = None
        for layer in range(self.n_layers):
            prefix = f"blocks.{layer}."
            part = {name[len(prefix) :]: weights[name] for name in weights if name.startswith(prefix)}
            two = None if keys is None else keys[2 * layer + 1 : 2 * layer + 3]
            if cache is None:
                stream_BTC, branch_BTC = self._block(part, stream_BTC, branch_BTC, two, *shared)
            else:
                stream_BTC, branch_BTC = self._block_plainly(
                    part, stream_BTC, branch_BTC, None, *shared, layer=layer, cache=cache
                )
        return self._norm(weights, "norm", branch_BTC, stream_BTC)[0]

    def logits(self, weights: Weights, hidden: Any) -> Any:
        """Logits of some rows of the stream, in float32."""
        return capped((hidden @ self._head(weights).T).astype(mx.float32), self.shape.logit_softcap)

    def _block_plainly(
        self, part: Weights, stream: Any, branch: Any, keys: Any, *shared: Any, layer: int = 0, cache: Any = None
    ) -> tuple[Any, Any]:
        """The stream, and the branch that is still to be added to it: the next norm adds while it reads."""
        given = Shared(*shared)
        if "residual_lambdas" in part:
            lambdas = part["residual_lambdas"]
            stream = stream if branch is None else stream + branch
            stream, branch = lambdas[0] * stream + lambdas[1] * given.embedded_BTC, None
        x_BTC, stream = self._norm(part, "attention.norm", branch, stream)
        branch = self._drop(self._attention(part, x_BTC, given, layer, cache), keys, 0)
        x_BTC, stream = self._norm(part, "mlp.norm", branch, stream)
        return stream, self._drop(self._mlp(part, x_BTC), keys, 1)

    def _attention(self, part: Weights, x_BTC: Any, shared: Shared, layer: int, cache: Cache | None) -> Any:
        """What the tokens before each one add to it; x is normalised."""
        shape, heads = self.shape, self.n_heads
        assert shape.n_kv_heads is not None
        batch, time = x_BTC.shape[:2]
        packed = _linear(part, "attention.qkv", x_BTC).reshape(batch, time, -1, self.head_dim)
        q_BTHD, k_BTKD, v_BTKD = mx.split(packed, [heads, heads + shape.n_kv_heads], axis=2)
        if "attention.value.weight" in part:
            embedded_BTKD = part["attention.value.weight"][mx.stop_gradient(shared.idx_BT)].reshape(v_BTKD.shape)
            lambdas = part["attention.value_lambdas"]
            v_BTKD = lambdas[0] * v_BTKD + lambdas[1] * embedded_BTKD
        if shape.qk_norm:
            q_BTHD = kernels.rms_norm(q_BTHD, part["attention.q_norm.weight"], eps=shape.norm_eps)
            k_BTKD = kernels.rms_norm(k_BTKD, part["attention.k_norm.weight"], eps=shape.norm_eps)
        if shared.cos is not None:
            q_BTHD, k_BTKD = (rotated(x, shared.cos, shared.sin) for x in (q_BTHD, k_BTKD))
        softcap = shape.attention_softcap
        if cache is not None:
            mixed = cache.attend(layer, q_BTHD, k_BTKD, v_BTKD, window=shape.window, softcap=softcap)
        else:
            mask = "causal" if shared.mask is None else shared.mask
            mixed = attend(q_BTHD, k_BTKD, v_BTKD, mask, softcap=softcap, how=shape.attention)
        return _linear(part, "attention.out", mixed.reshape(batch, time, -1))

    def _mlp(self, part: Weights, x_BTC: Any) -> Any:
        """What the token adds to itself; x is normalised."""
        up_BTF = _linear(part, "mlp.up", x_BTC)
        if self.shape.mlp == "swiglu":
            inner_BTF = kernels.swiglu(_linear(part, "mlp.gate", x_BTC), up_BTF)
        elif self.shape.mlp == "gelu":
            inner_BTF = kernels.gelu(up_BTF, approximate="tanh")
        else:
            inner_BTF = kernels.relu2(up_BTF)
        return _linear(part, "mlp.down", inner_BTF)

    def _norm(self, weights: Weights, name: str, x: Any, residual: Any) -> tuple[Any, Any]:
        """The norm of the stream with the branch added, and the stream itself."""
        added = residual if x is None else x + residual
        weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
        if self.shape.norm == "rmsnorm":
            return kernels.rms_norm(added, weight, eps=self.shape.norm_eps), added
        return kernels.layer_norm(added, weight, bias, eps=self.shape.norm_eps), added

    def _drop(self, branch: Any, keys: Any, which: int) -> Any:
        return branch if keys is None or not self.shape.dropout else dropped(branch, keys[which], self.shape.dropout)

    def _head(self, weights: Weights) -> Any:
        return weights["embed.weight" if self.shape.tied else "head.weight"]

    def _checked(self, idx: Any) -> Any:
        """Tokens as an array that a table can be read by, once they are known to be in it."""
        tokens = np.asarray(idx, np.int32)
        if tokens.shape[1] > self.shape.context_length:
            raise UsageError(
                f"{tokens.shape[1]} tokens are more than the model's context_length {self.shape.context_length}"
            )
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < self.vocab_size:
            raise UsageError(f"tokens from {tokens.min()} to {tokens.max()} leave the vocabulary of {self.vocab_size}")
        return mx.array(tokens)


def load(opened: names.Opened, dtype: Any = mx.float32) -> Model:
    """The model of an opened checkpoint, ours or in a layout of Hugging Face's (`pylm.checkpoint.open_weights`)."""
    shape, stored = names.read(opened)
    return Model(shape, {name: array.astype(dtype) for name, array in from_stored(stored).items()})


def document_starts(cu_seqlens: Any, batch: int, time: int) -> np.ndarray[Any, Any]:
    """Where the document of each token begins in its row, int32 [B, T]: of one shape however many there are."""
    at = np.arange(batch * time)
    bounds = np.asarray(cu_seqlens)
    starts = bounds[np.searchsorted(bounds, at, side="right") - 1]
    rows = at // time * time
    within: np.ndarray[Any, Any] = (np.maximum(starts, rows) - rows).astype(np.int32)
    return within.reshape(batch, time)


def _linear(weights: Weights, name: str, x: Any) -> Any:
    weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    return x @ weight.T if bias is None else mx.addmm(bias, x, weight.T)


def _only_on_metal() -> None:
    if not mx.metal.is_available():
        raise UsageError(
            "model.attention fused: the fused attention of MLX is a Metal kernel, and there is no Metal here",
            "--attention auto",
        )
