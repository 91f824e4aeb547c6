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
from pylm_kernels.operands.caches import CACHE, Cache
from pylm_kernels.operands.heads import HEADS, Heads
from pylm_kernels.operands.rope import ROTATION, Rotation
from pylm_kernels.operation import define, gathered
from pylm_kernels.ops.qk_norm_rope import reference

_one_launch = lazily("pylm_kernels.ops.qk_norm_rope.triton", "forward_cached")


def _run(*inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    heads, cache, rotation, last, backend = gathered(inputs, Heads, Cache, Rotation)
    q, k, v = heads.parts()
    caches.check(cache.lengths, q.shape[1], cache.k.shape[1], last)
    with torch.no_grad(), autocast.off(q):
        if backend == "triton":
            rotated = _one_launch(heads, cache, rotation)
            return rotated[0], rotated[1]
        if rotation.positions is None:
            rotation = rotation._replace(positions=caches.positions_of(cache.lengths, q.shape[1]))
        if backend == "reference":
            q_out, k_out = reference.rotate(q, k, rotation)
        else:
            run = implementation("qk_norm_rope", backend).forward
            q_out, k_out = run(heads._replace(v=None), rotation)[:2]
        cache.write(k_out, v)
    return q_out, k_out


def _fake(q: Any, k: Any, v: Any, n_heads: int, n_kv_heads: int, *rest: Any) -> Any:
    b, t, _, d = q.shape
    return q.new_empty((b, t, n_heads, d)), q.new_empty((b, t, n_kv_heads, d))


_operation = define(
    "qk_norm_rope_cached",
    f"({HEADS}, {CACHE}, {ROTATION}, int? last, str backend) -> (Tensor q_out, Tensor k_out)",
    _run,
    _fake,
)


def problem(v: Any, k_cache: Any, v_cache: Any, lengths: Any, cu_seqlens: Any, heads: Heads) -> str:
    """Return an empty string if these make a cache or none of them is given, else a sentence about what is wrong."""
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


def rotate_and_keep(
    heads: Heads, cache: Cache, rotation: Rotation, last: int | None, backend: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rotated q and k, and write k and v into the cache.

    The angles reach up to `last`, where that is asked.
    """
    call = _operation if transforms.traced(heads.q, heads.k, heads.v, *cache) else _run
    q_out, k_out = call(*heads, *cache, *rotation, last, backend)
    return q_out, k_out
