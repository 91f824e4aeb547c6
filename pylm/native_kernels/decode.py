"""What one new token needs: attention over a cache, and the product of an int8 matrix with a vector."""

from __future__ import annotations

import torch

from pylm import _native
from pylm.native_kernels.arguments import Some, threads
from pylm.native_kernels.heads import rotated, split
from pylm_kernels.operands import caches


def decode_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    lengths: list[int],
    scale: float | None = None,
    softcap: float = 0.0,
) -> torch.Tensor:
    """Attend one query a sequence, [batch, heads, dim], to caches [batch, length, kv heads, dim] of any strides."""
    q = q.contiguous()
    out = torch.empty_like(q)
    factor: float = q.shape[-1] ** -0.5 if scale is None else scale
    _native.decode_attention(q, k, v, lengths, out, factor, threads(), softcap)
    return out


def attention_decode_forward(
    q: torch.Tensor, k: Some, v: Some, k_cache: torch.Tensor, v_cache: torch.Tensor, lengths: torch.Tensor, cos: Some,
    sin: Some, positions: Some, q_weight: Some, k_weight: Some, sinks: Some, n_heads: int, n_kv_heads: int, eps: float,
    interleaved: bool, offset: int, window: int, softcap: float, scale: float,
) -> torch.Tensor:  # fmt: skip
    """Attend a few new tokens a row to caches, which get their keys and values; no window, no sinks."""
    queries, keys, values = split(q, k, v, n_heads, n_kv_heads)
    if cos is not None and sin is not None:
        positions = caches.positions_of(lengths, queries.shape[1]) if positions is None else positions
        queries, _ = rotated(queries, cos, sin, positions, q_weight, eps, interleaved, offset)
        keys, _ = rotated(keys, cos, sin, positions, k_weight, eps, interleaved, offset)
    caches.write(k_cache, keys, lengths)
    caches.write(v_cache, values, lengths)
    filled = lengths.tolist()
    if not queries.numel():
        return torch.empty_like(queries)
    rows = [
        decode_attention(queries[:, t], k_cache, v_cache, [length + t + 1 for length in filled], scale, softcap)
        for t in range(queries.shape[1])
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
