"""The rotation of heads and causal attention for training."""

from __future__ import annotations

from typing import Any

import torch

from pylm import _native
from pylm.native_kernels.arguments import Some, side_by_side, threads, wide


def attention_forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    starts: torch.Tensor | None = None,
    window: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute causal attention over [batch, time, heads, dim], by strides; the output and the logarithms of the sums.

    Args:
        q: queries.
        k: keys, with as many heads or a divisor of them.
        v: values, like the keys.
        starts: [batch, time] int32, where each position's document starts in its row; nothing attends before it.
        window: how many keys a query sees, itself included; 0 for all.
        scale: of the scores; the root of dim's reciprocal unless given.
        softcap: scores become softcap · tanh(score / softcap); 0 for none.
    """
    q, k, v = side_by_side(q), side_by_side(k), side_by_side(v)
    out = q.new_empty(q.shape)
    lse = q.new_empty(q.shape[0], q.shape[2], q.shape[1], dtype=torch.float32)
    if q.numel():
        _native.attention_forward(q, k, v, out, lse, starts, window, _scale(scale, q), threads(), softcap)
    return out, lse


def attention_backward(
    dout: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    starts: torch.Tensor | None = None,
    window: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
    into: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of q, k and v, written `into` tensors (views of a packed one, say) where given."""
    dout, q, k, v = side_by_side(dout), side_by_side(q), side_by_side(k), side_by_side(v)
    dq, dk, dv = into or (t.new_empty(t.shape) for t in (q, k, v))
    if q.numel():
        _native.attention_backward(
            dout, q, k, v, out, lse, dq, dk, dv, starts, window, _scale(scale, q), threads(), softcap
        )
    return dq, dk, dv


def _scale(scale: float | None, q: torch.Tensor) -> float:
    return float(q.shape[-1] ** -0.5) if scale is None else scale


def split(q: Any, k: Any, v: Any, n_heads: int, n_kv_heads: int) -> tuple[Any, Any, Any]:
    """Return views of the three in a packed projection, or the three themselves."""
    if k is not None:
        return q, k, v
    return q[:, :, :n_heads], q[:, :, n_heads : n_heads + n_kv_heads], q[:, :, n_heads + n_kv_heads :]


def rotated(
    x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, positions: Some, weight: Some, eps: float,
    interleaved: bool, offset: int,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return the heads turned, and the reciprocal root mean squares (empty without a weight)."""
    x = side_by_side(x)
    out = x.new_empty(x.shape)
    rstd = x.new_empty(x.shape[:3] if weight is not None else 0, dtype=torch.float32)
    if x.numel():
        _native.rotate_forward(x, cos, sin, positions, wide(weight), out, rstd, eps, interleaved, offset, threads())
    return out, rstd


def _turn_back(
    dy: torch.Tensor, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, positions: Some, weight: Some,
    rstd: torch.Tensor, dx: torch.Tensor, interleaved: bool, offset: int,
) -> torch.Tensor:  # fmt: skip
    """Write the gradient of the heads to dx; return that of the weight, empty without one."""
    dy, x = side_by_side(dy), side_by_side(x)
    dweight = None if weight is None else x.new_zeros(x.shape[3], dtype=torch.float32)
    if x.numel():
        _native.rotate_backward(
            dy, x, cos, sin, positions, wide(weight), rstd, dx, dweight, interleaved, offset, threads()
        )
    return x.new_empty(0) if dweight is None or weight is None else dweight.to(weight.dtype)


def qk_norm_rope_forward(
    q: torch.Tensor, k: Some, cos: torch.Tensor, sin: torch.Tensor, positions: Some, q_weight: Some, k_weight: Some,
    n_heads: int, n_kv_heads: int, eps: float, interleaved: bool, offset: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return q and k, normalised where there are weights and rotated, and their reciprocal root mean squares."""
    q, keys, _ = split(q, k, None, n_heads, n_kv_heads)
    q_out, q_rstd = rotated(q, cos, sin, positions, q_weight, eps, interleaved, offset)
    k_out, k_rstd = rotated(keys, cos, sin, positions, k_weight, eps, interleaved, offset)
    return q_out, k_out, q_rstd, k_rstd


def qk_norm_rope_backward(
    dq_out: torch.Tensor, dk_out: torch.Tensor, q: torch.Tensor, k: Some, cos: torch.Tensor, sin: torch.Tensor,
    positions: Some, q_weight: Some, k_weight: Some, q_rstd: torch.Tensor, k_rstd: torch.Tensor, n_heads: int,
    n_kv_heads: int, eps: float, interleaved: bool, offset: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return the gradients of q (of everything that is packed in it), k and the weights."""
    dq = q.new_empty(q.shape)
    dk = q.new_empty(0 if k is None else k.shape)
    q, k_heads, _ = split(q, k, None, n_heads, n_kv_heads)
    to_q, to_k, to_v = split(dq, None if k is None else dk, None, n_heads, n_kv_heads)
    if k is None:
        to_v.zero_()
    dq_weight = _turn_back(dq_out, q, cos, sin, positions, q_weight, q_rstd, to_q, interleaved, offset)
    dk_weight = _turn_back(dk_out, k_heads, cos, sin, positions, k_weight, k_rstd, to_k, interleaved, offset)
    return dq, dk, dq_weight, dk_weight


def rope_attention_forward(
    q: torch.Tensor, k: Some, v: Some, cos: Some, sin: Some, positions: Some, q_weight: Some, k_weight: Some,
    sinks: Some, starts: Some, ends: Some, n_heads: int, n_kv_heads: int, eps: float, interleaved: bool, offset: int,
    causal: bool, window: int, softcap: float, scale: float,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """Return the output, the logarithms of the sums, and what rotation made for the backward."""
    q, keys, values = split(q, k, v, n_heads, n_kv_heads)
    kept = q.new_empty(0), q.new_empty(0), q.new_empty(0, dtype=q.dtype), q.new_empty(0, dtype=q.dtype)
    if cos is not None and sin is not None:
        q, q_rstd = rotated(q, cos, sin, positions, q_weight, eps, interleaved, offset)
        keys, k_rstd = rotated(keys, cos, sin, positions, k_weight, eps, interleaved, offset)
        kept = q, keys, q_rstd, k_rstd
    out, lse = attention_forward(q, keys, values, starts, window, scale, softcap)
    return out, lse, *kept


def rope_attention_backward(
    do: torch.Tensor, q: torch.Tensor, k: Some, v: Some, cos: Some, sin: Some, positions: Some, q_weight: Some,
    k_weight: Some, sinks: Some, starts: Some, ends: Some, o: torch.Tensor, lse: torch.Tensor, q_out: torch.Tensor,
    k_out: torch.Tensor, q_rstd: torch.Tensor, k_rstd: torch.Tensor, n_heads: int, n_kv_heads: int, eps: float,
    interleaved: bool, offset: int, causal: bool, window: int, softcap: float, scale: float,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """Return the gradients of q (of everything that is packed in it), k, v and the weights; there are no sinks."""
    dq = q.new_empty(q.shape)
    dk, dv = (q.new_empty(0 if x is None else x.shape) for x in (k, v))
    packed = k is None
    q, k_heads, v_heads = split(q, k, v, n_heads, n_kv_heads)
    to_q, to_k, to_v = split(dq, None if packed else dk, None if packed else dv, n_heads, n_kv_heads)
    nothing = q.new_empty(0)
    if cos is None or sin is None:
        attention_backward(do, q, k_heads, v_heads, o, lse, starts, window, scale, softcap, into=(to_q, to_k, to_v))
        return dq, dk, dv, nothing, nothing, nothing
    turned = torch.empty_like(q_out), torch.empty_like(k_out)
    attention_backward(do, q_out, k_out, v_heads, o, lse, starts, window, scale, softcap, into=(*turned, to_v))
    dq_weight = _turn_back(turned[0], q, cos, sin, positions, q_weight, q_rstd, to_q, interleaved, offset)
    dk_weight = _turn_back(turned[1], k_heads, cos, sin, positions, k_weight, k_rstd, to_k, interleaved, offset)
    return dq, dk, dv, dq_weight, dk_weight, nothing
