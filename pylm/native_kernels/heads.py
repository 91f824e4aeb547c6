"""The rotation of heads and causal attention for training."""

from __future__ import annotations

import torch

from pylm import _native
from pylm.native_kernels.arguments import Some, side_by_side, threads, wide
from pylm_kernels.operands.heads import Heads, Mask
from pylm_kernels.operands.rope import Rotated, Rotation


def attention_forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    starts: torch.Tensor | None = None,
    window: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return causal attention over [batch, time, heads, dim], by strides: the output and the logarithms of the sums.

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


def rotated(x: torch.Tensor, rotation: Rotation, weight: Some) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the heads turned, and the reciprocal root mean squares (empty without a weight)."""
    cos, sin, positions, _, _, eps, interleaved, offset = rotation
    x = side_by_side(x)
    out = x.new_empty(x.shape)
    rstd = x.new_empty(x.shape[:3] if weight is not None else 0, dtype=torch.float32)
    if x.numel():
        _native.rotate_forward(x, cos, sin, positions, wide(weight), out, rstd, eps, interleaved, offset, threads())
    return out, rstd


def _turn_back(
    dy: torch.Tensor, x: torch.Tensor, rotation: Rotation, weight: Some, rstd: torch.Tensor, dx: torch.Tensor
) -> torch.Tensor:
    """Write the gradient of the heads to dx, and return that of the weight, empty without one."""
    cos, sin, positions, _, _, _, interleaved, offset = rotation
    dy, x = side_by_side(dy), side_by_side(x)
    dweight = None if weight is None else x.new_zeros(x.shape[3], dtype=torch.float32)
    if x.numel():
        _native.rotate_backward(
            dy, x, cos, sin, positions, wide(weight), rstd, dx, dweight, interleaved, offset, threads()
        )
    return x.new_empty(0) if dweight is None or weight is None else dweight.to(weight.dtype)


def qk_norm_rope_forward(heads: Heads, rotation: Rotation) -> Rotated:
    """Return q and k, normalised where there are weights and rotated, and their reciprocal root mean squares."""
    q, k, _ = heads.parts()
    q_out, q_rstd = rotated(q, rotation, rotation.q_weight)
    k_out, k_rstd = rotated(k, rotation, rotation.k_weight)
    return Rotated(q_out, k_out, q_rstd, k_rstd)


def qk_norm_rope_backward(
    dq_out: torch.Tensor,
    dk_out: torch.Tensor,
    heads: Heads,
    rotation: Rotation,
    q_rstd: torch.Tensor,
    k_rstd: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of q (of everything that is packed in it), k and the weights."""
    packed = heads.k is None
    dq = heads.q.new_empty(heads.q.shape)
    dk = heads.q.new_empty(0 if heads.k is None else heads.k.shape)
    q, k, _ = heads.parts()
    to_q, to_k, to_v = heads._replace(q=dq, k=None if packed else dk, v=None).parts()
    if packed:
        to_v.zero_()
    dq_weight = _turn_back(dq_out, q, rotation, rotation.q_weight, q_rstd, to_q)
    dk_weight = _turn_back(dk_out, k, rotation, rotation.k_weight, k_rstd, to_k)
    return dq, dk, dq_weight, dk_weight


def rope_attention_forward(heads: Heads, rotation: Rotation, mask: Mask) -> tuple[torch.Tensor, ...]:
    """Return the output, the logarithms of the sums, and what rotation made for the backward."""
    q, k, v = heads.parts()
    made = Rotated(*(q.new_empty(0) for _ in Rotated._fields))
    if rotation.cos is not None:
        made = qk_norm_rope_forward(heads, rotation)
        q, k = made.q, made.k
    out, lse = attention_forward(q, k, v, mask.starts, mask.window, mask.scale, mask.softcap)
    return out, lse, *made


def rope_attention_backward(
    do: torch.Tensor,
    heads: Heads,
    rotation: Rotation,
    mask: Mask,
    o: torch.Tensor,
    lse: torch.Tensor,
    made: Rotated,
) -> tuple[torch.Tensor, ...]:
    """Return the gradients of q (of everything that is packed in it), k, v and the weights; there are no sinks."""
    packed = heads.k is None
    dq = heads.q.new_empty(heads.q.shape)
    dk, dv = (heads.q.new_empty(0 if x is None else x.shape) for x in (heads.k, heads.v))
    q, k, v = heads.parts()
    to_q, to_k, to_v = heads._replace(q=dq, k=None if packed else dk, v=None if packed else dv).parts()
    nothing = q.new_empty(0)
    bends = (mask.starts, mask.window, mask.scale, mask.softcap)
    if rotation.cos is None:
        attention_backward(do, q, k, v, o, lse, *bends, into=(to_q, to_k, to_v))
        return dq, dk, dv, nothing, nothing, nothing
    turned = torch.empty_like(made.q), torch.empty_like(made.k)
    attention_backward(do, made.q, made.k, v, o, lse, *bends, into=(*turned, to_v))
    dq_weight = _turn_back(turned[0], q, rotation, rotation.q_weight, made.q_rstd, to_q)
    dk_weight = _turn_back(turned[1], k, rotation, rotation.k_weight, made.k_rstd, to_k)
    return dq, dk, dv, dq_weight, dk_weight, nothing
