"""The public qk_norm_rope, and the backends that are registered for it.

Raw form, which a backend implements:

    forward(heads, rotation) -> (q_out, k_out, q_rstd, k_rstd)
    backward(dq_out, dk_out, heads, rotation, q_rstd, k_rstd) -> (dq, dk, dq_weight, dk_weight)

heads is operands.heads.Heads, [B, T, heads, D] of any strides, or everything packed in q; `heads.parts()` are views of
the three. rotation is operands.rope.Rotation. What is absent comes out empty. With q packed, dq is the packed gradient,
zero where v stands.
"""

from __future__ import annotations

from typing import Any

import torch

from pylm_kernels import autocast
from pylm_kernels.dispatch import choose, implementation, lazily, register
from pylm_kernels.operands import caches
from pylm_kernels.operands import documents as _documents
from pylm_kernels.operands import heads as _heads
from pylm_kernels.operands.caches import Cache
from pylm_kernels.operands.documents import Documents
from pylm_kernels.operands.heads import HEADS, Heads
from pylm_kernels.operands.rope import ROTATION, Rope, Rotation
from pylm_kernels.operation import differentiable, differentiate, gathered, gradients, keep, kept, refuse
from pylm_kernels.ops.qk_norm_rope import cached, reference
from pylm_kernels.triton_runtime import launch

_TRITON = "pylm_kernels.ops.qk_norm_rope.triton"
register("qk_norm_rope", "triton", lazily(_TRITON, "forward"), lazily(_TRITON, "backward"), launch.serves)
_ARGUMENTS = (*Heads._fields, *Rotation._fields, "backend")


def _forward(*inputs: Any) -> Any:
    heads, rotation, name = gathered(inputs, Heads, Rotation)
    return implementation("qk_norm_rope", name).forward(heads, rotation)


def _fake(*inputs: Any) -> Any:
    heads, rotation, _ = gathered(inputs, Heads, Rotation)
    q = heads.q
    b, t, _, d = q.shape
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    norm = rotation.q_weight is not None
    return (
        q.new_empty((b, t, heads.n_heads, d)),
        q.new_empty((b, t, heads.n_kv_heads, d)),
        q.new_empty((b, t, heads.n_heads) if norm else (0,), dtype=wide),
        q.new_empty((b, t, heads.n_kv_heads) if norm else (0,), dtype=wide),
    )


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    _, _, q_rstd, k_rstd = output
    ctx.mark_non_differentiable(q_rstd, k_rstd)
    keep(ctx, inputs, (q_rstd, k_rstd))


def _backward_body(dq_out: Any, dk_out: Any, *inputs: Any) -> Any:
    *raw, name = gathered(inputs, Heads, Rotation)
    return implementation("qk_norm_rope", name).backward(dq_out, dk_out, *raw)


def _leaves(heads: Heads, rotation: Rotation) -> dict[str, Any]:
    """Return what may have a gradient, in the order of backward's results."""
    return {"q": heads.q, "k": heads.k, "q_weight": rotation.q_weight, "k_weight": rotation.k_weight}


def _backward_fake(dq_out: Any, dk_out: Any, *inputs: Any) -> Any:
    heads, rotation, *_ = gathered(inputs, Heads, Rotation)
    leaves = _leaves(heads, rotation).values()
    return tuple(heads.q.new_empty(0) if x is None else x.new_empty(x.shape) for x in leaves)


def _backward(ctx: Any, run: Any, dq_out: Any, dk_out: Any, *_: Any) -> Any:
    inputs, rstds = kept(ctx)
    heads, rotation, name = gathered(inputs, Heads, Rotation)
    found = run(dq_out, dk_out, *heads, *rotation, *rstds, name)
    leaves = _leaves(heads, rotation)
    return gradients(_ARGUMENTS, {n: g for (n, x), g in zip(leaves.items(), found, strict=True) if x is not None})


def _composite(ctx: Any, dq_out: Any, dk_out: Any, *_: Any) -> Any:
    heads, rotation, _ = gathered(kept(ctx)[0], Heads, Rotation)

    def outputs(q: Any, k: Any, q_weight: Any, k_weight: Any) -> Any:
        return compose(heads._replace(q=q, k=k), rotation._replace(q_weight=q_weight, k_weight=k_weight))

    leaves = _leaves(heads, rotation)
    found = differentiate(outputs, tuple(leaves.values()), (dq_out, dk_out))
    return gradients(_ARGUMENTS, dict(zip(leaves, found, strict=True)))


def compose(heads: Heads, rotation: Rotation) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the operation by its reference, from the arguments of the raw form."""
    q, k, _ = heads.parts()
    return reference.rotate(q, k, rotation)


_call = differentiable(
    "qk_norm_rope",
    schema=f"({HEADS}, {ROTATION}, str backend) -> (Tensor q_out, Tensor k_out, Tensor q_rstd, Tensor k_rstd)",
    forward=_forward,
    fake=_fake,
    setup=_setup,
    backward_schema=f"(Tensor dq_out, Tensor dk_out, {HEADS}, {ROTATION}, Tensor q_rstd, Tensor k_rstd, str backend)"
    " -> (Tensor dq, Tensor dk, Tensor dq_weight, Tensor dk_weight)",
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
    """Return the heads of q and k, each RMS-normalised where weights are given, then rotated.

    The arguments q and k stay as they are.

    Args:
        q: [B, T, heads, D], or with k left out the packed projection [B, T, (n_heads + 2 n_kv_heads) * D], which is
            read in place and whose gradient is written in place.
        k: [B, T, kv heads, D].
        rope: the angles; `rope.at(positions)` and `rope.at(offset=…)` shift them.
        n_heads: the number of heads of q, needed when q is packed.
        n_kv_heads: the number of heads of k and v; n_heads by default.
        q_weight: [D]; both weights or none.
        k_weight: [D].
        eps: what the norm adds to the mean square.
        cu_seqlens: document ends over the flattened batch, or the `Documents` found from them once for all layers:
            positions restart in each document.
        v: [B, T, kv heads, D], for the cache; packed q holds it already.
        k_cache: [B, S, kv heads, D] by strides, written in place: the result's k goes behind the filled positions.
            With a cache there is no gradient, and positions count from `lengths` unless `rope.at` says otherwise.
        v_cache: the same for v.
        lengths: [B] int32 or int64, how many positions of each row are filled before this call; the caller adds T.
        backend: the backend for this call.

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
        assert v_cache is not None and lengths is not None
        rotation = Rotation.of(rope, None, q_weight, k_weight, eps, q.device)
        return cached.rotate_and_keep(heads, Cache(k_cache, v_cache, lengths), rotation, rotation.last(rope), name)
    starts = None if cu_seqlens is None else Documents.of(cu_seqlens, q.shape[0], q.shape[1]).starts
    rotation = Rotation.of(rope, starts, q_weight, k_weight, eps, q.device)
    if name == "reference":
        with autocast.off(q):
            return compose(heads, rotation)
    q_out, k_out, _, _ = _call(*heads, *rotation, name)
    return q_out, k_out
