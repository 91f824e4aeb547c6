"""What one new token needs: attention over a cache, and the product of an int8 matrix with a vector."""

from __future__ import annotations

import torch

from pylm import _native
from pylm.native_kernels.arguments import threads
from pylm.native_kernels.heads import qk_norm_rope_forward
from pylm_kernels.operands import caches
from pylm_kernels.operands.caches import Cache
from pylm_kernels.operands.heads import Heads, Mask
from pylm_kernels.operands.rope import Rotation


def decode_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    lengths: list[int],
    scale: float | None = None,
    softcap: float = 0.0,
) -> torch.Tensor:
    """Return the attention of one query a sequence to caches.

    The queries are [batch, heads, dim], the caches [batch, length, kv heads, dim] of any strides.
    """
    q = q.contiguous()
    out = torch.empty_like(q)
    factor: float = q.shape[-1] ** -0.5 if scale is None else scale
    _native.decode_attention(q, k, v, lengths, out, factor, threads(), softcap)
    return out


def attention_decode_forward(heads: Heads, cache: Cache, rotation: Rotation, mask: Mask) -> torch.Tensor:
    """Return the attention of a few new tokens a row to caches, which get their keys and values.

    There is no window, and there are no sinks.
    """
    q, k, v = heads.parts()
    if rotation.cos is not None:
        if rotation.positions is None:
            rotation = rotation._replace(positions=caches.positions_of(cache.lengths, q.shape[1]))
        q, k = qk_norm_rope_forward(heads, rotation)[:2]
    cache.write(k, v)
    filled = cache.lengths.tolist()
    if not q.numel():
        return torch.empty_like(q)
    rows = [
        decode_attention(q[:, t], cache.k, cache.v, [length + t + 1 for length in filled], mask.scale, mask.softcap)
        for t in range(q.shape[1])
    ]
    return torch.stack(rows, 1)


def quantize_int8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of a matrix as int8 and one fp32 scale each."""
    wide = weight.float()
    scales = wide.abs().amax(1) / 127
    return (wide / scales.clamp_min(1e-30)[:, None]).round().to(torch.int8), scales


def gemv_int8(weights: torch.Tensor, scales: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return weights @ x, each row times its scale, in fp32."""
    y = x.new_empty(weights.shape[0], dtype=torch.float32)
    _native.gemv_int8(weights, scales, x, y, threads())
    return y
