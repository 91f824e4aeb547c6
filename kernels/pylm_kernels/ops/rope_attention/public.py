"""The public rope_attention, and the backends that are registered for it.

Raw form, which a backend implements (operands.heads.Heads and Mask, operands.rope.Rotation and Rotated):

    forward(heads, rotation, mask) -> (o, lse, q_out, k_out, q_rstd, k_rstd)
    backward(do, heads, rotation, mask, o, lse, rotated) -> (dq, dk, dv, dq_weight, dk_weight, dsinks)

o is [B, Tq, H, D] contiguous, lse [B, H, Tq] the natural logarithm of each row's sum (sink included; 0 for a row that
sees no key). Without rotation.cos nothing is normalised or turned. What is absent comes out empty; with q packed, dq is
the packed gradient, v's part included. What q_out to k_rstd hold, which come back as `rotated`, is the backend's own
business between its forward and its backward, but their shapes are those of qk_norm_rope.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from pylm_kernels import autocast
from pylm_kernels.dispatch import choose, implementation, lazily, register
from pylm_kernels.operands import documents as _documents
from pylm_kernels.operands import heads as _heads
from pylm_kernels.operands.documents import Documents
from pylm_kernels.operands.heads import HEADS, MASK, Heads, Mask
from pylm_kernels.operands.rope import ROTATION, Rope, Rotated, Rotation
from pylm_kernels.operation import differentiable, differentiate, gathered, gradients, keep, kept, refuse
from pylm_kernels.ops.qk_norm_rope import reference as turning
from pylm_kernels.ops.rope_attention import reference, sdpa
from pylm_kernels.triton_runtime import launch


def _serves(device: str, dtype: torch.dtype, facts: Any) -> str | None:
    if facts and facts["head_dim"] > 256:
        return f"its tiles hold heads of up to 256, not {facts['head_dim']}"
    return launch.serves(device, dtype, facts)


_TRITON = "pylm_kernels.ops.rope_attention.triton"
register("rope_attention", "triton", lazily(_TRITON, "forward"), lazily(_TRITON + "_backward", "backward"), _serves)
# differentiable as it stands, so it is composed in rope_attention below and has no raw form
register("rope_attention", "sdpa", sdpa.attend, sdpa.attend, sdpa.serves)
_ARGUMENTS = (*Heads._fields, *Rotation._fields, *Mask._fields, "backend")


def _forward(*inputs: Any) -> Any:
    *raw, name = gathered(inputs, Heads, Rotation, Mask)
    return implementation("rope_attention", name).forward(*raw)


def _fake(*inputs: Any) -> Any:
    heads, rotation, _, _ = gathered(inputs, Heads, Rotation, Mask)
    q, n_heads, n_kv_heads = heads.q, heads.n_heads, heads.n_kv_heads
    b, t, _, d = q.shape
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    turned, norm = rotation.cos is not None, rotation.q_weight is not None
    return (
        q.new_empty((b, t, n_heads, d)),
        q.new_empty((b, n_heads, t), dtype=wide),
        q.new_empty((b, t, n_heads, d) if turned else (0,)),
        q.new_empty((b, t, n_kv_heads, d) if turned else (0,)),
        q.new_empty((b, t, n_heads) if norm else (0,), dtype=wide if norm or turned else q.dtype),
        q.new_empty((b, t, n_kv_heads) if norm else (0,), dtype=wide if norm or turned else q.dtype),
    )


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.mark_non_differentiable(*output[1:])
    keep(ctx, inputs, output)


def _backward_body(do: Any, *inputs: Any) -> Any:
    heads, rotation, mask, o, lse, rotated, name = _of_backward(inputs)
    return implementation("rope_attention", name).backward(do, heads, rotation, mask, o, lse, rotated)


def _of_backward(inputs: Any) -> tuple[Any, ...]:
    heads, rotation, mask, o, lse, *rest = gathered(inputs, Heads, Rotation, Mask)
    return (heads, rotation, mask, o, lse, *gathered(rest, Rotated))


def _leaves(heads: Heads, rotation: Rotation, mask: Mask) -> dict[str, Any]:
    """Return what may have a gradient, in the order of backward's results."""
    vectors = {"q_weight": rotation.q_weight, "k_weight": rotation.k_weight, "sinks": mask.sinks}
    return {"q": heads.q, "k": heads.k, "v": heads.v, **vectors}


def _backward_fake(do: Any, *inputs: Any) -> Any:
    heads, rotation, mask = _of_backward(inputs)[:3]
    leaves = _leaves(heads, rotation, mask).values()
    return tuple(heads.q.new_empty(0) if x is None else x.new_empty(x.shape) for x in leaves)


def _backward(ctx: Any, run: Any, do: Any, *others: Any) -> Any:
    inputs, outputs = kept(ctx)
    heads, rotation, mask, name = gathered(inputs, Heads, Rotation, Mask)
    found = run(do, *heads, *rotation, *mask, *outputs, name)
    leaves = _leaves(heads, rotation, mask)
    return gradients(_ARGUMENTS, {n: g for (n, x), g in zip(leaves.items(), found, strict=True) if x is not None})


def _composite(ctx: Any, do: Any, *others: Any) -> Any:
    heads, rotation, mask, _ = gathered(kept(ctx)[0], Heads, Rotation, Mask)

    def o(q: Any, k: Any, v: Any, q_weight: Any, k_weight: Any, sinks: Any) -> Any:
        turned = rotation._replace(q_weight=q_weight, k_weight=k_weight)
        return compose("reference", heads._replace(q=q, k=k, v=v), turned, mask._replace(sinks=sinks))

    leaves = _leaves(heads, rotation, mask)
    return gradients(_ARGUMENTS, dict(zip(leaves, differentiate(o, tuple(leaves.values()), (do,)), strict=True)))


def compose(way: str, heads: Heads, rotation: Rotation, mask: Mask) -> torch.Tensor:
    """Compute the operation in plain torch, from the arguments of the raw form.

    `way` is its reference or torch's own attention.
    """
    q, k, v = heads.parts()
    if rotation.cos is not None:
        q, k = turning.rotate(q, k, rotation)
    if way == "sdpa":
        return sdpa.attend(q, k, v, mask)
    return reference.attend(q, k, v, reference.seen(q.shape[1], k.shape[1], mask, q.device), mask)


_OUTPUTS = "Tensor o, Tensor lse, Tensor q_out, Tensor k_out, Tensor q_rstd, Tensor k_rstd"
_call = differentiable(
    "rope_attention",
    schema=f"({HEADS}, {ROTATION}, {MASK}, str backend) -> ({_OUTPUTS})",
    forward=_forward,
    fake=_fake,
    setup=_setup,
    backward_schema=f"(Tensor do, {HEADS}, {ROTATION}, {MASK}, {_OUTPUTS}, str backend)"
    " -> (Tensor dq, Tensor dk, Tensor dv, Tensor dq_weight, Tensor dk_weight, Tensor dsinks)",
    backward_body=_backward_body,
    backward_fake=_backward_fake,
    backward=_backward,
    composite=_composite,
)


def rope_attention(
    q: torch.Tensor,
    k: torch.Tensor | None = None,
    v: torch.Tensor | None = None,
    *,
    rope: Rope | None = None,
    n_heads: int | None = None,
    n_kv_heads: int | None = None,
    q_weight: torch.Tensor | None = None,
    k_weight: torch.Tensor | None = None,
    eps: float = 1e-5,
    causal: bool = True,
    window: int | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
    cu_seqlens: torch.Tensor | Documents | None = None,
    scale: float | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Return softmax(q kᵀ) v, with q and k normalised and rotated first where asked; gradients are deterministic.

    Args:
        q: [B, Tq, heads, D] of any strides, or with k and v left out the packed projection
            [B, T, (n_heads + 2 n_kv_heads) * D].
        k: [B, Tk, kv heads, D]; kv heads divide heads (GQA, MQA). The last row of q stands at the last key.
        v: the values, in the shape of k.
        rope: a pylm_kernels.Rope; None is plain attention.
        n_heads: the number of heads of q, needed when q is packed.
        n_kv_heads: the number of heads of k and v; n_heads by default.
        q_weight: [D], RMS-normalises each head of q before the rotation; both weights or none.
        k_weight: [D], the same for k.
        eps: what that norm adds to the mean square.
        causal: a row sees keys up to its own position.
        window: a row sees keys at a distance below this.
        softcap: scores s become softcap * tanh(s / softcap).
        sinks: [heads], a score beside the keys' that takes its share of the softmax and gives nothing.
        cu_seqlens: document ends over the flattened batch, 0 first, or the `Documents` found from them once for all
            layers; rows see their own document only.
        scale: the factor on the scores; 1 / sqrt(D) by default.
        backend: the backend for this call, such as "triton", "sdpa" or "reference".

    Returns:
        [B, Tq, heads, D]; zeros in a row that sees no key.
    """
    q, k, v = autocast.cast(q, k, v)
    heads, problem = _heads.arrange(q, k, v, n_heads, n_kv_heads, wants_v=True)
    problem = problem or _heads.rotary(rope, heads) or _heads.norms(q_weight, k_weight, heads)
    problem = problem or _documents.problem(cu_seqlens, heads.q, heads.k)
    problem = problem or _heads.scores(heads, rope, q_weight, window, softcap, sinks)
    if problem:
        return refuse(q, problem)
    b, t, _, d = heads.q.shape
    facts = {
        "head_dim": d,
        "softcap": softcap is not None,
        "sinks": sinks is not None,
        "window": window is not None,
        "documents": cu_seqlens is not None,
        "causal": causal,
        "cross": heads.k is not None and t != heads.k.shape[1],
        "scale": 1.0 if scale is None else scale,
        "rows_without_keys": heads.k is not None and t > heads.k.shape[1] and causal,
    }
    name, refusal = choose("rope_attention", backend, q, facts)
    if refusal:
        return refuse(q, refusal)
    starts, ends = (None, None) if cu_seqlens is None else Documents.of(cu_seqlens, b, t)
    scale = 1 / math.sqrt(d) if scale is None else float(scale)
    rotation = Rotation.of(rope, starts, q_weight, k_weight, eps, q.device)
    mask = Mask(sinks, starts, ends, causal, window or 0, float(softcap or 0.0), scale)
    if name in ("reference", "sdpa"):
        with autocast.off(q):
            return compose(name, heads, rotation, mask)
    o: torch.Tensor = _call(*heads, *rotation, *mask, name)[0]
    return o
