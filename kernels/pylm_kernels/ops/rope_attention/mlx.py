"""rope_attention for MLX arrays: Metal kernels on an Apple GPU, plain MLX elsewhere."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import mlx.core as mx

from pylm_kernels.mlx.heads import Heads, Mask, arrange, documents, norms, positions_of, rotary, scores
from pylm_kernels.mlx.launch import on_metal, with_gradient
from pylm_kernels.mlx.rope import Rope, Rotation
from pylm_kernels.ops.qk_norm_rope.mlx import Turn, rotate
from pylm_kernels.ops.rope_attention import metal, metal_backward


def attend(q: Any, k: Any, v: Any, mask: Mask, sinks: Any) -> Any:
    """Return softmax(q kᵀ · scale, capped, masked, with a sink beside the keys) v, in plain MLX.

    The T × T scores are made in full.
    """
    group = q.shape[2] // k.shape[2]
    q, k, v = (x.astype(mx.float32).transpose(0, 2, 1, 3) for x in (q, k, v))
    k, v = (mx.repeat(x, group, 1) if group > 1 else x for x in (k, v))
    scores = (q @ k.swapaxes(-1, -2)) * mask.scale
    if mask.softcap:
        scores = mask.softcap * mx.tanh(scores / mask.softcap)
    row = mx.arange(q.shape[2])[:, None] + (k.shape[2] - q.shape[2])
    key = mx.arange(k.shape[2])[None, :]
    seen = mx.ones((q.shape[2], k.shape[2]), dtype=mx.bool_) if not mask.causal else key <= row
    if mask.window:
        seen = seen & (key > row - mask.window) & (key < row + mask.window)
    seen = seen[None, None]
    if mask.starts is not None:
        seen = seen & (key >= mask.starts[:, None, :, None]) & (key < mask.ends[:, None, :, None])
    any_seen = seen.any(-1, keepdims=True)
    scores = mx.where(seen, scores, -mx.inf)
    if sinks is not None:
        beside = mx.broadcast_to(sinks.astype(mx.float32)[None, :, None, None], (*scores.shape[:3], 1))
        scores = mx.concatenate([scores, beside], -1)
    else:
        scores = mx.where(any_seen, scores, 0.0)  # a row of -inf would be 0 / 0
    weights = mx.softmax(scores, -1)[..., : k.shape[2]]
    return (mx.where(any_seen, weights, 0.0) @ v).transpose(0, 2, 1, 3)


def rope_attention(
    q: Any,
    k: Any = None,
    v: Any = None,
    *,
    rope: Rope | None = None,
    n_heads: int | None = None,
    n_kv_heads: int | None = None,
    q_weight: Any = None,
    k_weight: Any = None,
    eps: float = 1e-5,
    causal: bool = True,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Any = None,
    cu_seqlens: Any = None,
    scale: float | None = None,
) -> Any:
    """Return softmax(q kᵀ) v, with q and k normalised and rotated first where asked.

    On Metal no T × T scores are stored, not in the backward either.

    Args:
        q: [B, Tq, heads, D], or with k and v left out the packed projection [B, T, (n_heads + 2 n_kv_heads) * D],
            which is read as it is; arrays that are no contiguous rows are copied first.
        k: [B, Tk, kv heads, D]; kv heads divide heads (GQA, MQA). The last row of q stands at the last key.
        v: the values, in the shape of k.
        rope: a pylm_kernels.mlx.Rope; None is plain attention.
        n_heads: the number of heads of q, needed when q is packed.
        n_kv_heads: the number of heads of k and v; n_heads by default.
        q_weight: [D], RMS-normalises each head of q before the rotation; both weights or none.
        k_weight: [D], the same for k.
        eps: what that norm adds to the mean square.
        causal: a row sees keys up to its own position.
        window: a row sees keys at a distance below this.
        softcap: scores s become softcap * tanh(s / softcap).
        sinks: [heads], a score beside the keys' that takes its share of the softmax and gives nothing.
        cu_seqlens: document ends over the flattened batch, 0 first, or the `Documents` found from them once for all
            layers; rows see their own document only.
        scale: the factor on the scores; 1 / sqrt(D) by default.

    Returns:
        [B, Tq, heads, D]; zeros in a row that sees no key.

    Raises:
        ValueError: an argument does not fit the others.
    """
    heads = arrange(q, k, v, n_heads, n_kv_heads, wants_v=True)
    rotary(rope, heads)
    norms(q_weight, k_weight, heads)
    scores(heads, rope, q_weight, window, softcap, sinks)
    starts, ends = (None, None) if cu_seqlens is None else documents(cu_seqlens, heads)
    d = heads.q.shape[3]
    mask = Mask(
        causal, window or 0, float(softcap or 0.0), 1 / math.sqrt(d) if scale is None else float(scale), starts, ends
    )
    rotation = None if rope is None else Rotation(rope, positions_of(rope, starts), q_weight, k_weight, float(eps))
    empty = heads.q.size == 0 or (heads.k is not None and heads.k.size == 0)
    if empty or not on_metal(metal.refusal(d)):
        q, k, v = heads.parts()
        if rotation is not None:
            q, k = rotate(q, k, rotation)
        return attend(q, k, v, mask, sinks).astype(heads.q.dtype)
    attention = _Attention(None if rotation is None else Turn(heads, rotation), heads, mask)
    given = {"q": heads.q, "k": heads.k, "v": heads.v, "q_weight": q_weight, "k_weight": k_weight, "sinks": sinks}
    return with_gradient(attention.forward, attention.backward, given)[0]


class _Attention(NamedTuple):
    """Attention and its gradient by their Metal kernels.

    Forward rotates and attends. Backward finds delta and dQ, then dK and dV, and rotates back.
    """

    turn: Turn | None
    heads: Heads
    mask: Mask

    def _where(self, given: dict[str, Any], rotated: Any) -> Any:
        n, m = self.heads.n_heads, self.heads.n_kv_heads
        q, k, v = (given[name] for name in ("q", "k", "v"))
        packed = k is None
        if rotated:
            q_out, k_out = rotated
            return metal.Where(q_out, k_out, q if packed else v, (0, 0, n + m if packed else 0), n, m)
        return metal.Where(q, q, q, (0, n, n + m), n, m) if packed else metal.Where(q, k, v, (0, 0, 0), n, m)

    def forward(self, given: dict[str, Any]) -> Any:
        rotated = self.turn.forward(given) if self.turn else ()
        return (*metal.forward(self._where(given, rotated), self.mask, given["sinks"]), *rotated)

    def backward(self, given: dict[str, Any], cotangents: Any, outputs: Any) -> dict[str, Any]:
        o, lse, *rotated = outputs
        dq, dk, dv, delta = metal_backward.backward(cotangents[0], o, lse, self._where(given, rotated), self.mask)
        found: dict[str, Any] = {"v": dv}
        if self.turn:
            found |= self.turn.backward(given, dq, dk, dv if given["k"] is None else None)
        elif given["k"] is None:
            found["q"] = mx.concatenate([dq, dk, dv], 2)
        else:
            found |= {"q": dq, "k": dk}
        if (sinks := given["sinks"]) is not None:
            share = mx.exp(sinks.astype(mx.float32)[:, None] - lse)
            found["sinks"] = -(share * delta).sum((0, 2)).astype(sinks.dtype)
        return found
