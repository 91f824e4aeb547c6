"""qk_norm_rope for MLX arrays: Metal kernels on an Apple GPU, plain MLX elsewhere."""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx

from pylm_kernels.mlx.heads import Heads, arrange, documents, norms, positions_of, rotary, split
from pylm_kernels.mlx.launch import on_metal, with_gradient
from pylm_kernels.mlx.rope import Rope
from pylm_kernels.ops.qk_norm_rope import metal


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
        cu_seqlens: document ends over the flattened batch, or the `Documents` found from them once for all layers:
            positions restart in each document.

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

    turn = Turn(rope, positions, heads, float(eps))
    given = {"q": heads.q, "k": heads.k, "q_weight": q_weight, "k_weight": k_weight}
    q_out, k_out = with_gradient(
        turn.forward, lambda given, cotangents, outputs: turn.backward(given, cotangents[0], cotangents[1], None), given
    )
    return q_out, k_out


def turned(rope: Rope, positions: Any, heads: Heads, q_weight: Any, k_weight: Any, eps: float) -> tuple[Any, Any]:
    """Q and k normalised and rotated by the Metal kernel, without a gradient."""
    given = {"q": heads.q, "k": heads.k, "q_weight": q_weight, "k_weight": k_weight}
    q, k = Turn(rope, positions, heads, eps).forward(given)
    return q, k


class Turn(NamedTuple):
    """The rotation and its gradient by their Metal kernels."""

    rope: Rope
    positions: Any
    heads: Heads
    eps: float

    def _settings(self) -> dict[str, Any]:
        return {
            "cos": self.rope.cos, "sin": self.rope.sin, "positions": self.positions, "n_heads": self.heads.n_heads,
            "n_kv_heads": self.heads.n_kv_heads, "eps": self.eps, "interleaved": self.rope.layout == "interleaved",
            "offset": self.rope.offset,
        }  # fmt: skip

    def forward(self, given: dict[str, Any]) -> Any:
        """Q and k, rotated."""
        arrays = {name: given[name] for name in ("q", "k", "q_weight", "k_weight")}
        return metal.forward(**arrays, **self._settings())

    def backward(self, given: dict[str, Any], gq: Any, gk: Any, gv: Any) -> dict[str, Any]:
        """The gradients of what was given; gv is that of a packed v."""
        arrays = {name: given[name] for name in ("q", "k", "q_weight", "k_weight")}
        return dict(zip(arrays, metal.backward(gq, gk, gv, **arrays, **self._settings()), strict=True))
