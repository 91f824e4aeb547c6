"""attention_decode for MLX arrays: a few new tokens over a cache of keys and values."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx

from pylm_kernels.mlx import arguments
from pylm_kernels.mlx import heads as _heads
from pylm_kernels.mlx.heads import Heads, Mask
from pylm_kernels.mlx.launch import on_metal
from pylm_kernels.mlx.rope import Rope, Rotation
from pylm_kernels.ops.qk_norm_rope import metal as turning
from pylm_kernels.ops.qk_norm_rope.mlx import rotate
from pylm_kernels.ops.rope_attention import metal
from pylm_kernels.ops.rope_attention.mlx import attend


def _check(k_cache: Any, v_cache: Any, lengths: Any, heads: Heads, rope: Rope | None) -> None:
    b, t, _, d = heads.q.shape
    for name, cache in (("k_cache", k_cache), ("v_cache", v_cache)):
        arguments.array(name, cache)
        shape = cache.shape
        if len(shape) != 4 or (shape[0], shape[2], shape[3]) != (b, heads.n_kv_heads, d):
            raise ValueError(
                f"{name}: shape {shape} must be (batch {b}, capacity, kv heads {heads.n_kv_heads}, head_dim {d})"
            )
        if cache.dtype != heads.q.dtype:
            raise ValueError(
                f"{name}: dtype {cache.dtype} differs from q's {heads.q.dtype}; keep the cache in the model's dtype"
            )
    if k_cache.shape != v_cache.shape:
        raise ValueError(f"v_cache: holds {v_cache.shape[1]} positions, k_cache {k_cache.shape[1]}")
    if heads.k is not None and heads.k.shape[1] != t:
        raise ValueError(f"k: holds {heads.k.shape[1]} new tokens, q {t}")
    counting = rope is not None and rope.positions is None
    key = (t, k_cache.shape[1], rope.max_positions - rope.offset if rope is not None and counting else None)
    if isinstance(lengths, mx.array):
        if lengths.shape != (b,) or not mx.issubdtype(lengths.dtype, mx.integer):
            raise ValueError(f"lengths: must be an integer, or {b} of them: how many positions of each row are filled")
        filled = _heads.looked_at(lengths)
    else:
        filled = [int(lengths)]
    for row, length in enumerate(filled or ()):
        if length < 0 or length + t > key[1]:
            raise ValueError(f"lengths: row {row} has {length} positions and gets {t}; the cache holds {key[1]}")
        if key[2] is not None and length + t > key[2]:
            raise ValueError(f"rope: row {row} reaches position {length + t - 1} of {key[2]}; raise max_positions")


def _written(cache: Any, new: Any, lengths: Any) -> Any:
    """Return the cache with the new tokens behind those of each row.

    MLX reuses the cache's memory where nobody else holds it.
    """
    if not isinstance(lengths, mx.array):
        return mx.slice_update(cache, new, mx.array([int(lengths)]), axes=[1])
    rows = mx.arange(cache.shape[0])[:, None]
    out = mx.array(cache)
    out[rows, lengths[:, None] + mx.arange(new.shape[1])] = new
    return out


def attention_decode(
    q: Any,
    k: Any = None,
    v: Any = None,
    *,
    k_cache: Any,
    v_cache: Any,
    lengths: Any,
    rope: Rope | None = None,
    n_heads: int | None = None,
    n_kv_heads: int | None = None,
    q_weight: Any = None,
    k_weight: Any = None,
    eps: float = 1e-5,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Any = None,
    scale: float | None = None,
) -> tuple[Any, Any, Any]:
    """Return the attention of a few new tokens a row over a cache, and the cache with their keys and values.

    There is no gradient.

    MLX writes no array in place, so the caches come back; `o, k_cache, v_cache = attention_decode(…)` lets their memory
    be used again.

    Args:
        q: [B, T, heads, D], or with k and v left out the packed projection [B, T, (n_heads + 2 n_kv_heads) * D]. T is
            small: 1, or the tokens of a guess that is being verified.
        k: [B, T, kv heads, D], neither normalised nor rotated; kv heads divide heads.
        v: the values, in the shape of k.
        k_cache: [B, S, kv heads, D], holding keys as this function or qk_norm_rope made them. What lies behind the
            filled positions must be finite (zeros, say).
        v_cache: the same for values.
        lengths: how many positions are filled before this call: an integer where the rows are alike (then only what is
            filled is read), or [B]; the caller adds T.
        rope: a pylm_kernels.mlx.Rope, at lengths[b] + t unless `rope.at` says otherwise; None: no rotation.
        n_heads: the number of heads of q, needed when q is packed.
        n_kv_heads: the number of heads of k and v; n_heads by default.
        q_weight: [D], RMS-normalises each head of q before the rotation; both weights or none.
        k_weight: [D], the same for k.
        eps: what that norm adds to the mean square.
        window: a row sees keys at a distance below this.
        softcap: scores s become softcap * tanh(s / softcap).
        sinks: [heads], a score beside the keys' that takes its share of the softmax and gives nothing.
        scale: the factor on the scores; 1 / sqrt(D) by default.

    Returns:
        [B, T, heads, D], k_cache, v_cache.

    Raises:
        ValueError: an argument does not fit the others.
    """
    heads = _heads.arrange(q, k, v, n_heads, n_kv_heads, wants_v=True)
    _heads.rotary(rope.at(offset=0) if rope is not None and rope.positions is None else rope, heads)
    _heads.norms(q_weight, k_weight, heads)
    _heads.scores(heads, rope, q_weight, window, softcap, sinks)
    _check(k_cache, v_cache, lengths, heads, rope)
    t, d = heads.q.shape[1], heads.q.shape[3]
    fused = heads.q.size > 0 and on_metal(metal.refusal(d))
    # [B or 1, T]: where the new tokens stand
    rows = (lengths.astype(mx.int32)[:, None] if isinstance(lengths, mx.array) else lengths) + mx.arange(t)[None]
    q, k, v = heads.parts()
    if rope is not None:
        positions = _heads.positions_of(rope, None) if rope.positions is not None else rows
        rotation = Rotation(rope, positions, q_weight, k_weight, float(eps))
        q, k = turning.forward(heads, rotation) if fused else rotate(q, k, rotation)
    k_cache, v_cache = _written(k_cache, k, lengths), _written(v_cache, v, lengths)
    filled = k_cache.shape[1] if isinstance(lengths, mx.array) else int(lengths) + t
    keys, values = k_cache[:, :filled], v_cache[:, :filled]
    starts = mx.maximum(rows - (window or filled) + 1, 0)
    shape = (heads.q.shape[0], t)
    mask = Mask(
        False, 0, float(softcap or 0.0), 1 / math.sqrt(d) if scale is None else float(scale),
        mx.broadcast_to(starts, shape), mx.broadcast_to(rows + 1, shape),
    )  # fmt: skip
    if fused and mask.softcap:
        where = metal.Where(q, keys, values, (0, 0, 0), heads.n_heads, heads.n_kv_heads)
        o = metal.forward(where, mask, sinks)[0]
    elif fused:
        o = _fast(q, keys, values, mask, sinks)
    else:
        o = attend(q, keys, values, mask, sinks).astype(heads.q.dtype)
    return o, k_cache, v_cache


def _fast(q: Any, k: Any, v: Any, mask: Mask, sinks: Any) -> Any:
    """Return what MLX's own kernel for a few rows gives, which splits long caches over the chip but has no soft cap."""
    key = mx.arange(k.shape[1])
    seen = (key >= mask.starts[:, None, :, None]) & (key < mask.ends[:, None, :, None])
    o: Any = mx.fast.scaled_dot_product_attention(
        q.swapaxes(1, 2), k.swapaxes(1, 2), v.swapaxes(1, 2), scale=mask.scale, mask=seen,
        sinks=None if sinks is None else sinks.astype(q.dtype),
    )  # fmt: skip
    return o.swapaxes(1, 2)
