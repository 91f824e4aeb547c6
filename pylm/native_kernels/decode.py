"""What one new token needs: attention over a cache, and the product of an int8 matrix with a vector."""

from __future__ import annotations

import torch

from pylm import _native
from pylm.native_kernels.arguments import threads


def decode_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: list[int], scale: float | None = None
) -> torch.Tensor:
    """Attention of one query a sequence, [batch, heads, dim], over caches [batch, length, kv heads, dim] by strides."""
    q = q.contiguous()
    out = torch.empty_like(q)
    _native.decode_attention(q, k, v, lengths, out, q.shape[-1] ** -0.5 if scale is None else scale, threads())
    return out


def quantize_int8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a matrix as int8 and one fp32 scale each."""
    wide = weight.float()
    scales = wide.abs().amax(1) / 127
    return (wide / scales.clamp_min(1e-30)[:, None]).round().to(torch.int8), scales


def gemv_int8(weights: torch.Tensor, scales: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Weights @ x, each row times its scale, in fp32."""
    y = torch.empty(weights.shape[0])
    _native.gemv_int8(weights, scales, x, y, threads())
    return y
