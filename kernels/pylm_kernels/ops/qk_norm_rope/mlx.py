"""qk_norm_rope for MLX arrays: Metal kernels on an Apple GPU, plain MLX elsewhere."""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx

from pylm_kernels.mlx.heads import Heads, arrange, documents, norms, positions_of, rotary
from pylm_kernels.mlx.launch import on_metal, with_gradient
from pylm_kernels.mlx.rope import Rope, Rotation
from pylm_kernels.ops.qk_norm_rope import metal


def rotate(q: Any, k: Any, rotation: Rotation) -> tuple[Any, Any]:
    """Return both q and k rotated, in plain MLX."""
    return _rotate(q, rotation, rotation.q_weight), _rotate(k, rotation, rotation.k_weight)


def _rotate(x: Any, rotation: Rotation, weight: Any) -> Any:
    """Normalise each head of [B, T, heads, D] where there is a weight, then rotate it."""
    rope, positions = rotation.rope, rotation.positions
    wide = x.astype(mx.float32)
    if weight is not None:
        wide = wide * mx.rsqrt(mx.square(wide).mean(-1, keepdims=True) + rotation.eps) * weight.astype(mx.float32)
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
    """Return the heads of q and k, each RMS-normalised where weights are given, then rotated.

    Args:
        q: [B, T, heads, D], or with k left out the packed projection [B, T, (n_heads + 2 n_kv_heads) * D], which is
            read as it is; arrays that are no contiguous rows are copied first.
        k: [B, T, kv heads, D].
        rope: the angles; `rope.at(positions)` and `rope.at(offset=…)` shift them.
        n_heads: the number of heads of q, needed when q is packed.
        n_kv_heads: the number of heads of k and v; n_heads by default.
        q_weight: [D]; both weights or none.
        k_weight: [D].
        eps: what the norm adds to the mean square.
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
    rotation = Rotation(rope, positions_of(rope, starts), q_weight, k_weight, float(eps))
    if heads.q.size == 0 or not on_metal():
        q, k, _ = heads.parts()
        return rotate(q, k, rotation)
    turn = Turn(heads, rotation)
    q_out, k_out = with_gradient(
        turn.forward,
        lambda given, cotangents, outputs: turn.backward(given, cotangents[0], cotangents[1], None),
        {"q": heads.q, "k": heads.k, "q_weight": q_weight, "k_weight": k_weight},
    )
    return q_out, k_out


class Turn(NamedTuple):
    """The rotation and its gradient by their Metal kernels, of whatever stands in place of the arrays here."""

    heads: Heads
    rotation: Rotation

    def _of(self, given: dict[str, Any]) -> tuple[Heads, Rotation]:
        weights = {name: given[name] for name in ("q_weight", "k_weight")}
        return self.heads._replace(q=given["q"], k=given["k"]), self.rotation._replace(**weights)

    def forward(self, given: dict[str, Any]) -> Any:
        """Return q and k, rotated."""
        return metal.forward(*self._of(given))

    def backward(self, given: dict[str, Any], gq: Any, gk: Any, gv: Any) -> dict[str, Any]:
        """Return the gradients of what was given; gv is that of a packed v."""
        found = metal.backward(gq, gk, gv, *self._of(given))
        return dict(zip(("q", "k", "q_weight", "k_weight"), found, strict=True))
