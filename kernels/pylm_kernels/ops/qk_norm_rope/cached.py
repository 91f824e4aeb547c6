"""qk_norm_rope with a cache of keys and values, which it writes; for a prompt, so there is no gradient.

A backend needs nothing of its own for this: what its forward gives is written behind the filled positions. Triton's
kernel writes in the launch that rotates.
"""

from __future__ import annotations

from typing import Any

import torch

from pylm_kernels import autocast, transforms
from pylm_kernels.dispatch import implementation, lazily
from pylm_kernels.operands import caches
from pylm_kernels.operands import heads as _heads
from pylm_kernels.operation import define
from pylm_kernels.ops.qk_norm_rope import reference

_one_launch = lazily("pylm_kernels.ops.qk_norm_rope.triton", "forward_cached")


def _run(
    q: Any, k: Any, v: Any, k_cache: Any, v_cache: Any, lengths: Any, cos: Any, sin: Any, positions: Any,
    q_weight: Any, k_weight: Any, n_heads: int, n_kv_heads: int, eps: float, interleaved: bool, offset: int,
    table: int | None, backend: str,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    caches.check(lengths, q.shape[1], k_cache.shape[1], table)
    settings = (n_heads, n_kv_heads, eps, interleaved, offset)
    with torch.no_grad(), autocast.off(q):
        if backend == "triton":
            held = (k_cache, v_cache, lengths)
            found = _one_launch(q, k, v, *held, cos, sin, positions, q_weight, k_weight, *settings)
            return found[0], found[1]
        positions = caches.positions_of(lengths, q.shape[1]) if positions is None else positions
        q_heads, k_heads, v_heads = _heads.split(q, k, v, n_heads, n_kv_heads)
        if backend == "reference":
            q_out = reference.rotate(q_heads, cos, sin, positions, q_weight, eps, interleaved, offset)
            k_out = reference.rotate(k_heads, cos, sin, positions, k_weight, eps, interleaved, offset)
        else:
            run = implementation("qk_norm_rope", backend).forward
            q_out, k_out = run(q, k, cos, sin, positions, q_weight, k_weight, *settings)[:2]
        caches.write(k_cache, k_out, lengths)
        caches.write(v_cache, v_heads, lengths)
    return q_out, k_out


def _fake(q: Any, *rest: Any) -> Any:
    n_heads, n_kv_heads = rest[10:12]
    b, t, _, d = q.shape
    return q.new_empty((b, t, n_heads, d)), q.new_empty((b, t, n_kv_heads, d))


_operation = define(
    "qk_norm_rope_cached",
    "(Tensor q, Tensor? k, Tensor? v, Tensor(a!) k_cache, Tensor(b!) v_cache, Tensor lengths, Tensor cos, Tensor sin,"
    " Tensor? positions, Tensor? q_weight, Tensor? k_weight, int n_heads, int n_kv_heads, float eps, bool interleaved,"
    " int offset, int? table, str backend) -> (Tensor q_out, Tensor k_out)",
    _run,
    _fake,
)


def problem(v: Any, k_cache: Any, v_cache: Any, lengths: Any, cu_seqlens: Any, heads: _heads.Heads) -> str:
    """A sentence unless these make a cache, or none of them is given."""
    given = {"k_cache": k_cache, "v_cache": v_cache, "lengths": lengths}
    missing = [name for name, x in given.items() if x is None]
    if len(missing) == 3:
        return "" if v is None else "v: is only written to a cache, and none is given"
    if missing:
        return f"{missing[0]}: is missing; a cache is k_cache, v_cache and lengths"
    if cu_seqlens is not None:
        return "cu_seqlens: a cache holds one sequence a row; write documents row by row"
    if heads.k is not None and v is None:
        return "v: is missing; it is written to v_cache"
    return caches.problem(k_cache, v_cache, lengths, heads)


def rotate_and_keep(*raw: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotated q and k, with k and v in the cache; the arguments of the operation."""
    q_out, k_out = (_operation if transforms.traced(*raw[:6]) else _run)(*raw)
    return q_out, k_out
