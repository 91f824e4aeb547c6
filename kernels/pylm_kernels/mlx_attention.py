"""qk_norm_rope for MLX arrays: Metal kernels on an Apple GPU, plain MLX elsewhere."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from pylm_kernels.mlx_heads import arrange, documents, norms, positions_of, rotary, split
from pylm_kernels.mlx_launch import on_metal, with_gradient
from pylm_kernels.mlx_rope import Rope


def rotate(x: Any, rope: Rope, positions: Any, weight: Any, eps: float) -> Any:
    """Normalise each head of [B, T, heads, D] where there is a weight, then rotate it; plain MLX."""
    wide = x.astype(mx.float32)
    if weight is not None:
        wide = wide * mx.rsqrt(mx.square(wide).mean(-1, keepdims=True) + eps) * weight.astype(mx.float32)
    at = (mx.arange(x.shape[1], dtype=mx.int32)[None] if positions is None else positions) + rope.offset
    there = ((at >= 0) & (at < rope.max_positions))[..., None]
    index = mx.where(there[..., 0], at, 0)
    c, s = (mx.where(there, table[index], 0.0)[:, :, None] for table in (rope.cos, rope.sin))
    turning, rest = wide[..., : rope.dims], wide[..., rope.dims :]
    if rope.layout == "interleaved":
        a, b = turning[..., ::2], turning[..., 1::2]
        turned = mx.stack([a * c - b * s, b * c + a * s], -1).reshape(turning.shape)
    else:
        a, b = mx.split(turning, 2, -1)
        turned = mx.concatenate([a * c - b * s, b * c + a * s], -1)
    return mx.concatenate([turned, rest], -1).astype(x.dtype)


def qk_norm_rope(
    q: Any,
    k: Any = None,
    *,
    rope: Rope,
    n_heads: int | None = None,
    n_kv_heads: int | None = None,
    q_weight: Any = None,
    k_weight: Any = None,
    eps: float = 1e-5,
    cu_seqlens: Any = None,
) -> tuple[Any, Any]:
    """Heads of q and k, each RMS-normalised where weights are given, then rotated.

    Args:
        q: [B, T, heads, D], or with k left out the packed projection [B, T, (n_heads + 2 n_kv_heads) * D], which is
            read as it is; arrays that are no contiguous rows are copied first.
        k: [B, T, kv heads, D].
        rope: the angles; `rope.at(positions)` and `rope.at(offset=…)` shift them.
        n_heads: of q, needed when packed.
        n_kv_heads: of k and v; n_heads by default.
        q_weight: [D]; both weights or none.
        k_weight: [D].
        eps: of the norm.
        cu_seqlens: document ends over the flattened batch: positions restart in each document.

    Returns:
        q and k, [B, T, heads, D].

    Raises:
        ValueError: an argument does not fit the others.
    """
    heads = arrange(q, k, None, n_heads, n_kv_heads, wants_v=False)
    rotary(rope, heads)
    norms(q_weight, k_weight, heads)
    starts = None if cu_seqlens is None else documents(cu_seqlens, heads)[0]
    positions = positions_of(rope, starts)
    if heads.q.size == 0 or not on_metal():
        q, k, _ = split(heads.q, heads.k, None, heads.n_heads, heads.n_kv_heads)
        return rotate(q, rope, positions, q_weight, eps), rotate(k, rope, positions, k_weight, eps)
    from pylm_kernels.ops.qk_norm_rope import metal

    angles: tuple[Any, ...] = (rope.cos, rope.sin, positions)
    shape: tuple[Any, ...] = (heads.n_heads, heads.n_kv_heads, float(eps), rope.layout == "interleaved", rope.offset)

    def forward(given: dict[str, Any]) -> Any:
        return metal.forward(given["q"], given["k"], *angles, given["q_weight"], given["k_weight"], *shape)

    def backward(given: dict[str, Any], cotangents: Any, outputs: Any) -> dict[str, Any]:
        q, k, q_weight, k_weight = (given[name] for name in ("q", "k", "q_weight", "k_weight"))
        found = metal.backward(*cotangents, None, q, k, *angles, q_weight, k_weight, *shape)
        return dict(zip(("q", "k", "q_weight", "k_weight"), found, strict=True))

    given = {"q": heads.q, "k": heads.k, "q_weight": q_weight, "k_weight": k_weight}
    q_out, k_out = with_gradient(forward, backward, given)
    return q_out, k_out
