"""qk_norm_rope.

Raw form, which a backend implements ([B, T, heads, D] of any strides; k absent: q holds n_heads of q, n_kv_heads of k
and n_kv_heads of v, packed):

    forward(q, k?, cos, sin, positions?, q_weight?, k_weight?, n_heads, n_kv_heads, eps, interleaved, offset)
        -> (q_out, k_out, q_rstd, k_rstd)
    backward(dq_out, dk_out, q, k?, cos, sin, positions?, q_weight?, k_weight?, q_rstd, k_rstd, n_heads, n_kv_heads,
             eps, interleaved, offset) -> (dq, dk, dq_weight, dk_weight)

cos and sin are [positions, rotating dims / 2] in float32, positions [B or 1, T] int32; what is absent comes out empty.
With q packed, dq is the packed gradient, zero where v stands.
"""

from __future__ import annotations

from typing import Any

import torch

from pylm_kernels import autocast
from pylm_kernels.dispatch import choose, implementation, lazily, register
from pylm_kernels.operands import caches
from pylm_kernels.operands import documents as _documents
from pylm_kernels.operands import heads as _heads
from pylm_kernels.operands.documents import Documents
from pylm_kernels.operands.rope import Rope
from pylm_kernels.operation import differentiable, differentiate, refuse
from pylm_kernels.ops.qk_norm_rope import cached, reference
from pylm_kernels.triton_runtime import launch

_TRITON = "pylm_kernels.ops.qk_norm_rope.triton"
register("qk_norm_rope", "triton", lazily(_TRITON, "forward"), lazily(_TRITON, "backward"), launch.serves)


def _forward(*inputs: Any) -> Any:
    return implementation("qk_norm_rope", inputs[-1]).forward(*inputs[:-1])


def _fake(
    q: Any, k: Any, cos: Any, sin: Any, positions: Any, q_weight: Any, k_weight: Any, n_heads: int, n_kv_heads: int,
    eps: float, interleaved: bool, offset: int, backend: str,
) -> Any:  # fmt: skip
    b, t, _, d = q.shape
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    norm = q_weight is not None
    return (
        q.new_empty((b, t, n_heads, d)),
        q.new_empty((b, t, n_kv_heads, d)),
        q.new_empty((b, t, n_heads) if norm else (0,), dtype=wide),
        q.new_empty((b, t, n_kv_heads) if norm else (0,), dtype=wide),
    )


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    *tensors, ctx.n_heads, ctx.n_kv_heads, ctx.eps, ctx.interleaved, ctx.offset, ctx.backend = inputs
    _, _, q_rstd, k_rstd = output
    ctx.mark_non_differentiable(q_rstd, k_rstd)
    ctx.save_for_backward(*tensors, q_rstd, k_rstd)


def _settings(ctx: Any) -> tuple[Any, ...]:
    return ctx.n_heads, ctx.n_kv_heads, ctx.eps, ctx.interleaved, ctx.offset


def _backward_body(*inputs: Any) -> Any:
    return implementation("qk_norm_rope", inputs[-1]).backward(*inputs[:-1])


def _backward_fake(
    dq_out: Any, dk_out: Any, q: Any, k: Any, cos: Any, sin: Any, positions: Any, q_weight: Any, k_weight: Any,
    *rest: Any,
) -> Any:  # fmt: skip
    return tuple(q.new_empty(0) if x is None else x.new_empty(x.shape) for x in (q, k, q_weight, k_weight))


def _backward(ctx: Any, run: Any, dq_out: Any, dk_out: Any, *_: Any) -> Any:
    saved = ctx.saved_tensors  # once: under checkpointing each look unpacks, and a second one is an error
    k, q_weight = saved[1], saved[5]
    dq, dk, dq_weight, dk_weight = run(dq_out, dk_out, *saved, *_settings(ctx), ctx.backend)
    norm = q_weight is not None
    return (
        dq, dk if k is not None else None, None, None, None, dq_weight if norm else None,
        dk_weight if norm else None, *(None,) * 6,
    )  # fmt: skip


def _composite(ctx: Any, dq_out: Any, dk_out: Any, *_: Any) -> Any:
    q, k, cos, sin, positions, q_weight, k_weight, _, _ = ctx.saved_tensors

    def outputs(q: Any, k: Any, q_weight: Any, k_weight: Any) -> Any:
        return compose(q, k, cos, sin, positions, q_weight, k_weight, *_settings(ctx))

    dq, dk, dq_weight, dk_weight = differentiate(outputs, (q, k, q_weight, k_weight), (dq_out, dk_out))
    return dq, dk, None, None, None, dq_weight, dk_weight, *(None,) * 6


def compose(
    q: Any, k: Any, cos: Any, sin: Any, positions: Any, q_weight: Any, k_weight: Any, n_heads: int, n_kv_heads: int,
    eps: float, interleaved: bool, offset: int,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """The operation by its reference, from the arguments of the raw form."""
    q, k, _ = _heads.split(q, k, None, n_heads, n_kv_heads)
    return (
        reference.rotate(q, cos, sin, positions, q_weight, eps, interleaved, offset),
        reference.rotate(k, cos, sin, positions, k_weight, eps, interleaved, offset),
    )


_ARGUMENTS = "Tensor cos, Tensor sin, Tensor? positions, Tensor? q_weight, Tensor? k_weight"
_SETTINGS = "int n_heads, int n_kv_heads, float eps, bool interleaved, int offset, str backend"
_call = differentiable(
    "qk_norm_rope",
    schema=f"(Tensor q, Tensor? k, {_ARGUMENTS}, {_SETTINGS})"
    " -> (Tensor q_out, Tensor k_out, Tensor q_rstd, Tensor k_rstd)",
    forward=_forward,
    fake=_fake,
    setup=_setup,
    backward_schema=f"(Tensor dq_out, Tensor dk_out, Tensor q, Tensor? k, {_ARGUMENTS}, Tensor q_rstd,"
    f" Tensor k_rstd, {_SETTINGS}) -> (Tensor dq, Tensor dk, Tensor dq_weight, Tensor dk_weight)",
    backward_body=_backward_body,
    backward_fake=_backward_fake,
    backward=_backward,
    composite=_composite,
)


def qk_norm_rope(
    q: torch.Tensor,
    k: torch.Tensor | None = None,
    *,
    rope: Rope,
    n_heads: int | None = None,
    n_kv_heads: int | None = None,
    q_weight: torch.Tensor | None = None,
    k_weight: torch.Tensor | None = None,
    eps: float = 1e-5,
    cu_seqlens: torch.Tensor | Documents | None = None,
    v: torch.Tensor | None = None,
    k_cache: torch.Tensor | None = None,
    v_cache: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Heads of q and k, each RMS-normalised where weights are given, then rotated; q and k stay as they are.

    Args:
        q: [B, T, heads, D], or with k left out the packed projection [B, T, (n_heads + 2 n_kv_heads) * D], which is
            read in place and whose gradient is written in place.
        k: [B, T, kv heads, D].
        rope: the angles; `rope.at(positions)` and `rope.at(offset=…)` shift them.
        n_heads: of q, needed when packed.
        n_kv_heads: of k and v; n_heads by default.
        q_weight: [D]; both weights or none.
        k_weight: [D].
        eps: of the norm.
        cu_seqlens: document ends over the flattened batch, or the `Documents` found from them once for all layers:
            positions restart in each document.
        v: [B, T, kv heads, D], for the cache; packed q holds it already.
        k_cache: [B, S, kv heads, D] by strides, written in place: the result's k goes behind the filled positions.
            With a cache there is no gradient, and positions count from `lengths` unless `rope.at` says otherwise.
        v_cache: the same for v.
        lengths: [B] int32 or int64, how many positions of each row are filled before this call; the caller adds T.
        backend: this call's backend.

    Returns:
        q and k, contiguous [B, T, heads, D].
    """
    heads, problem = _heads.arrange(q, k, v, n_heads, n_kv_heads, wants_v=False)
    problem = problem or _heads.rotary(rope, heads) or _heads.norms(q_weight, k_weight, heads)
    problem = problem or _documents.problem(cu_seqlens, heads.q, heads.k)
    problem = problem or cached.problem(v, k_cache, v_cache, lengths, cu_seqlens, heads)
    if not problem and k_cache is not None:
        problem = caches.gradients({"q": q, "k": k, "v": v, "q_weight": q_weight, "k_weight": k_weight})
    name, refusal = ("", "") if problem else choose("qk_norm_rope", backend, q, {"head_dim": heads.q.shape[3]})
    if problem or refusal:
        refused = refuse(q, problem or refusal)
        return refused, refused
    if k_cache is not None:
        positions = _heads.positions_of(rope, None)
        return cached.rotate_and_keep(
            heads.q, heads.k, heads.v, k_cache, v_cache, lengths, *rope.tables(q.device), positions, q_weight, k_weight,
            heads.n_heads, heads.n_kv_heads, float(eps), rope.layout == "interleaved", rope.offset,
            rope.max_positions - rope.offset if positions is None else None, name,
        )  # fmt: skip
    starts = None if cu_seqlens is None else Documents.of(cu_seqlens, q.shape[0], q.shape[1]).starts
    raw = (
        heads.q, heads.k, *rope.tables(q.device), _heads.positions_of(rope, starts), q_weight, k_weight,
        heads.n_heads, heads.n_kv_heads, float(eps), rope.layout == "interleaved", rope.offset,
    )  # fmt: skip
    if name == "reference":
        with autocast.off(q):
            return compose(*raw)
    q_out, k_out, _, _ = _call(*raw, name)
    return q_out, k_out
