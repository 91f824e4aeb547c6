"""Heads of MLX arrays as callers give them: packed in one projection or apart, and the documents packed into a row."""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx

from pylm_kernels.mlx.arguments import array, floating
from pylm_kernels.mlx.rope import Rope
from pylm_kernels.operands.packing import check_edges


class Heads(NamedTuple):
    """The arrays as [B, T, heads, D] and how many heads there are; k and v are None when q holds all three."""

    q: Any
    k: Any
    v: Any
    n_heads: int
    n_kv_heads: int

    def parts(self) -> tuple[Any, Any, Any]:
        """Return q, k and v, cut out of a packed projection where they are packed. v may be absent beside k."""
        q, k, v, n, m = self
        return (q, k, v) if k is not None else (q[:, :, :n], q[:, :, n : n + m], q[:, :, n + m :])


class Mask(NamedTuple):
    """The keys that a row sees, and how their scores are bent; window and softcap are 0 where there is none."""

    causal: bool
    window: int
    softcap: float
    scale: float
    starts: Any
    ends: Any


def arrange(q: Any, k: Any, v: Any, n_heads: int | None, n_kv_heads: int | None, wants_v: bool) -> Heads:
    """Return the heads, or raise ValueError where the arguments do not fit together."""
    floating("q", q)
    if k is None:
        if v is not None:
            raise ValueError("v: is given without k")
        return _packed(q, n_heads, n_kv_heads)
    if wants_v and v is None:
        raise ValueError("v: is missing; give q, k and v, or q alone with everything packed in it")
    others = (("k", k), *((("v", v),) if v is not None else ()))
    for name, x in others:
        array(name, x)
    for name, x in (("q", q), *others):
        if x.ndim != 4:
            raise ValueError(f"{name}: has {x.ndim} dimensions; it must be [batch, time, heads, head_dim]")
    for name, x in others:
        if x.dtype != q.dtype:
            raise ValueError(f"{name}: dtype {x.dtype} differs from q's {q.dtype}; cast one of them")
        if x.shape[0] != q.shape[0] or x.shape[3] != q.shape[3]:
            raise ValueError(f"{name}: batch and head_dim {x.shape[0]}, {x.shape[3]} differ from q's")
    if v is not None and v.shape != k.shape:
        raise ValueError("v: its shape differs from k's")
    if k.shape[2] == 0 or q.shape[2] % k.shape[2]:
        raise ValueError(f"k: {k.shape[2]} heads do not divide q's {q.shape[2]}")
    for name, said, x in (("n_heads", n_heads, q), ("n_kv_heads", n_kv_heads, k)):
        if said is not None and said != x.shape[2]:
            raise ValueError(f"{name}: {said} contradicts the {x.shape[2]} heads of the array")
    return Heads(q, k, v, q.shape[2], k.shape[2])


def _packed(q: Any, n_heads: int | None, n_kv_heads: int | None) -> Heads:
    if n_heads is None:
        raise ValueError("n_heads: is needed when q holds q, k and v packed")
    n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
    if n_kv_heads <= 0 or n_heads <= 0 or n_heads % n_kv_heads:
        raise ValueError(f"n_kv_heads: {n_kv_heads} does not divide n_heads {n_heads}")
    every = n_heads + 2 * n_kv_heads
    if q.ndim == 3 and q.shape[2] % every == 0 and q.shape[2] > 0:
        return Heads(q.reshape(q.shape[0], q.shape[1], every, q.shape[2] // every), None, None, n_heads, n_kv_heads)
    if q.ndim == 4 and q.shape[2] == every:
        return Heads(q, None, None, n_heads, n_kv_heads)
    raise ValueError(
        f"q: shape {q.shape} does not hold {every} packed heads; [B, T, {every} * D] or [B, T, {every}, D]"
    )


def rotary(rope: Rope | None, heads: Heads) -> None:
    """Raise ValueError unless this Rope serves these heads."""
    if rope is None:
        return
    b, t, _, d = heads.q.shape
    if rope.head_dim != d:
        raise ValueError(f"rope: was built for head_dim {rope.head_dim}, the heads are {d} wide")
    if heads.k is not None and heads.k.shape[1] != t:
        raise ValueError(
            f"rope: q has {t} positions and k {heads.k.shape[1]}; rotate with qk_norm_rope, then attend without rope"
        )
    if rope.positions is None:
        if t + rope.offset > rope.max_positions:
            raise ValueError(
                f"rope: {t} positions from {rope.offset} on leave its table of {rope.max_positions};"
                " raise max_positions"
            )
    elif rope.positions.shape[-1] != t or (rope.positions.ndim == 2 and rope.positions.shape[0] != b):
        raise ValueError("rope: its positions are not (T,) or (B, T) of q")


def vector(name: str, x: Any, width: int, of: str) -> None:
    """Raise ValueError unless x is a floating vector of this width."""
    floating(name, x)
    if x.shape != (width,):
        raise ValueError(f"{name}: shape {x.shape} does not fit {of} {width} of q; it must be ({width},)")


def norms(q_weight: Any, k_weight: Any, heads: Heads) -> None:
    """Raise ValueError unless both weights are absent or both fit a head."""
    if (q_weight is None) != (k_weight is None):
        raise ValueError("q_weight, k_weight: give both or neither")
    if q_weight is not None:
        vector("q_weight", q_weight, heads.q.shape[3], "the head_dim")
        vector("k_weight", k_weight, heads.q.shape[3], "the head_dim")


def scores(
    heads: Heads, rope: Rope | None, q_weight: Any, window: int | None, softcap: float | None, sinks: Any
) -> None:
    """Raise ValueError unless what bends and masks the scores is possible."""
    if q_weight is not None and rope is None:
        raise ValueError(
            "q_weight: the norm comes before the rotation, and there is no rope; use rms_norm on the heads"
        )
    if window is not None and window <= 0:
        raise ValueError(f"window: {window} leaves no keys; a row sees at least itself with window=1")
    if softcap is not None and softcap <= 0:
        raise ValueError(f"softcap: {softcap} must be positive, or None")
    if sinks is not None:
        vector("sinks", sinks, heads.n_heads, "the number of heads")


def looked_at(x: Any) -> list[Any] | None:
    """Return the numbers in an array, or None while a function is being compiled, where there are none yet."""
    try:
        found: list[Any] = x.tolist()
    except (ValueError, RuntimeError):
        return None
    return found


class Documents(NamedTuple):
    """The start and the end of each position's document within its row, both [B, T] and int32.

    Found once a batch with `Documents.of` and handed to every layer as `cu_seqlens`.
    """

    starts: Any
    ends: Any

    @classmethod
    def of(cls, cu_seqlens: Any, batch: int, time: int) -> Documents:
        """Return the documents of a batch; `Documents` come back as they are, once their shape is checked.

        Args:
            cu_seqlens: document ends over the flattened batch, 0 first and batch * time last. One that stands there
                twice is an empty document. A document that crosses the end of a row is cut there.
            batch: the number of rows.
            time: the number of positions in a row.

        Raises:
            ValueError: these are no ends of documents of such a batch.
        """
        if isinstance(cu_seqlens, Documents):
            if cu_seqlens.starts.shape != (batch, time) or cu_seqlens.ends.shape != (batch, time):
                raise ValueError(f"cu_seqlens: these Documents are not of shape ({batch}, {time})")
            return cu_seqlens
        array("cu_seqlens", cu_seqlens)
        if cu_seqlens.ndim != 1 or cu_seqlens.shape[0] < 2 or not mx.issubdtype(cu_seqlens.dtype, mx.integer):
            raise ValueError("cu_seqlens: must be a vector of at least two integers, 0 first and batch * time last")
        total = batch * time
        edges = looked_at(cu_seqlens)
        if edges is not None:
            check_edges(edges, total)
        at = mx.arange(total, dtype=mx.int32)
        ends_at = cu_seqlens.astype(mx.int32)
        which = mx.cumsum(mx.zeros((total + 1,), dtype=mx.int32).at[ends_at[1:]].add(1))[:total]
        row = at // max(time, 1) * time
        starts = (mx.maximum(ends_at[which], row) - row).reshape(batch, time)
        ends = (mx.minimum(ends_at[which + 1], row + time) - row).reshape(batch, time)
        return cls(starts, ends)


def documents(cu_seqlens: Any, heads: Heads) -> Documents:
    """Return the documents of these heads' batch, or raise ValueError where q and k differ in length."""
    if heads.k is not None and heads.k.shape[1] != heads.q.shape[1]:
        raise ValueError("cu_seqlens: documents need q and k of one length")
    return Documents.of(cu_seqlens, *heads.q.shape[:2])


def positions_of(rope: Rope, starts: Any) -> Any:
    """Return explicit positions as [B or 1, T] int32, or None where they simply count up."""
    if rope.positions is not None:
        return rope.positions if rope.positions.ndim == 2 else rope.positions[None]
    if starts is None:
        return None
    return mx.arange(starts.shape[1], dtype=mx.int32)[None] - starts
