"""Heads as callers give them, packed in one projection or apart, and what goes with them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from pylm_kernels import arguments
from pylm_kernels.operands.rope import Rope


class Heads(NamedTuple):
    """The tensors as [B, T, heads, D] and how many heads there are; k and v are None when q holds all three."""

    q: torch.Tensor
    k: torch.Tensor | None
    v: torch.Tensor | None
    n_heads: int
    n_kv_heads: int

    def parts(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return views of q, k and v in a packed projection, or the three themselves. v may be absent beside k."""
        q, k, v, n, m = self
        if k is not None:
            return q, k, v if v is not None else k
        return q[:, :, :n], q[:, :, n : n + m], q[:, :, n + m :]


HEADS = "Tensor q, Tensor? k, Tensor? v, int n_heads, int n_kv_heads"  # in the notation of torch.library


class Mask(NamedTuple):
    """The keys that a row sees, and how its scores are bent; window and softcap are 0 where there is none."""

    sinks: torch.Tensor | None  # [heads], a score beside the keys'
    starts: torch.Tensor | None  # [B, T] int32, with ends: each row's document
    ends: torch.Tensor | None
    causal: bool
    window: int
    softcap: float
    scale: float


MASK = "Tensor? sinks, Tensor? starts, Tensor? ends, bool causal, int window, float softcap, float scale"


def arrange(
    q: torch.Tensor,
    k: torch.Tensor | None,
    v: torch.Tensor | None,
    n_heads: int | None,
    n_kv_heads: int | None,
    wants_v: bool,
) -> tuple[Heads, str]:
    """Return the heads, and an empty string or a sentence that says which arguments do not fit together.

    Where there is a sentence the heads are q alone.
    """
    nothing = Heads(q, None, None, 0, 0)
    if wrong := arguments.floating("q", q):
        return nothing, wrong
    if k is None:
        return (nothing, "v: is given without k") if v is not None else _packed(q, n_heads, n_kv_heads, nothing)
    if wants_v and v is None:
        return nothing, "v: is missing; give q, k and v, or q alone with everything packed in it"
    for name, x in (("q", q), ("k", k), *((("v", v),) if v is not None else ())):
        if x.dim() != 4:
            return nothing, f"{name}: has {x.dim()} dimensions; it must be [batch, time, heads, head_dim]"
    for name, x in (("k", k), *((("v", v),) if v is not None else ())):
        if x.dtype != q.dtype:
            return nothing, f"{name}: dtype {x.dtype} differs from q's {q.dtype}; cast one of them"
        if wrong := arguments.same_device(name, x, "q", q):
            return nothing, wrong
        if x.shape[0] != q.shape[0] or x.shape[3] != q.shape[3]:
            return nothing, f"{name}: batch and head_dim {x.shape[0]}, {x.shape[3]} differ from q's"
    if v is not None and v.shape != k.shape:
        return nothing, "v: its shape differs from k's"
    if k.shape[2] == 0 or q.shape[2] % k.shape[2]:
        return nothing, f"k: {k.shape[2]} heads do not divide q's {q.shape[2]}"
    for name, said, x in (("n_heads", n_heads, q), ("n_kv_heads", n_kv_heads, k)):
        if said is not None and said != x.shape[2]:
            return nothing, f"{name}: {said} contradicts the {x.shape[2]} heads of the tensor"
    return Heads(q, k, v, q.shape[2], k.shape[2]), ""


def _packed(q: torch.Tensor, n_heads: int | None, n_kv_heads: int | None, nothing: Heads) -> tuple[Heads, str]:
    if n_heads is None:
        return nothing, "n_heads: is needed when q holds q, k and v packed"
    n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
    if n_kv_heads <= 0 or n_heads <= 0 or n_heads % n_kv_heads:
        return nothing, f"n_kv_heads: {n_kv_heads} does not divide n_heads {n_heads}"
    every = n_heads + 2 * n_kv_heads
    if q.dim() == 3 and q.shape[2] % every == 0 and q.shape[2] > 0:
        return Heads(q.view(q.shape[0], q.shape[1], every, q.shape[2] // every), None, None, n_heads, n_kv_heads), ""
    if q.dim() == 4 and q.shape[2] == every:
        return Heads(q, None, None, n_heads, n_kv_heads), ""
    shape = ", ".join([str(int(n)) for n in q.shape])
    return nothing, f"q: shape ({shape}) does not hold {every} packed heads; [B, T, {every} * D] or [B, T, {every}, D]"


def rotary(rope: Rope | None, heads: Heads) -> str:
    """Return an empty string if this Rope serves these heads, else a sentence that says why it cannot."""
    if rope is None:
        return ""
    b, t, d = heads.q.shape[0], heads.q.shape[1], heads.q.shape[3]
    if rope.head_dim != d:
        return f"rope: was built for head_dim {rope.head_dim}, the heads are {d} wide"
    if heads.k is not None and heads.k.shape[1] != t:
        return f"rope: q has {t} positions and k {heads.k.shape[1]}; rotate with qk_norm_rope, then attend without rope"
    if rope.positions is not None:
        if rope.positions.shape[-1] != t or (rope.positions.dim() == 2 and rope.positions.shape[0] != b):
            return "rope: its positions are not (T,) or (B, T) of q"
        return arguments.same_device("rope", rope.positions, "q", heads.q)
    if t + rope.offset > rope.max_positions:
        return f"rope: {t} positions from {rope.offset} on leave its table of {rope.max_positions}; raise max_positions"
    return ""


def norms(q_weight: torch.Tensor | None, k_weight: torch.Tensor | None, heads: Heads) -> str:
    """Return an empty string if both weights are absent or both fit a head, else a sentence that says what is wrong."""
    if (q_weight is None) != (k_weight is None):
        return "q_weight, k_weight: give both or neither"
    for name, weight in (("q_weight", q_weight), ("k_weight", k_weight)):
        if weight is not None:
            wrong = arguments.vector(name, weight, heads.q.shape[3], "the head_dim", "q")
            if wrong := wrong or arguments.same_device(name, weight, "q", heads.q):
                return wrong
    return ""


def scores(
    heads: Heads, rope: Rope | None, q_weight: Any, window: int | None, softcap: float | None, sinks: Any
) -> str:
    """Return an empty string if what bends and masks the scores is in its range, else a sentence about what is not.

    Otherwise the string is a sentence that says which of them is out of its range.
    """
    if q_weight is not None and rope is None:
        return "q_weight: the norm comes before the rotation, and there is no rope; use rms_norm on the heads"
    if window is not None and window <= 0:
        return f"window: {window} leaves no keys; a row sees at least itself with window=1"
    if softcap is not None and softcap <= 0:
        return f"softcap: {softcap} must be positive, or None"
    if sinks is not None:
        wrong = arguments.vector("sinks", sinks, heads.n_heads, "the number of heads", "q")
        return wrong or arguments.same_device("sinks", sinks, "q", heads.q)
    return ""
