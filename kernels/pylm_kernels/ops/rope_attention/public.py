"""rope_attention.

Raw form, which a backend implements (heads as in qk_norm_rope; cos absent: no rotation and no norm):

    forward(q, k?, v?, cos?, sin?, positions?, q_weight?, k_weight?, sinks?, starts?, ends?, n_heads, n_kv_heads, eps,
            interleaved, offset, causal, window, softcap, scale) -> (o, lse, q_out, k_out, q_rstd, k_rstd)
    backward(do, q, k?, v?, cos?, sin?, positions?, q_weight?, k_weight?, sinks?, starts?, ends?, o, lse, q_out, k_out,
             q_rstd, k_rstd, n_heads, n_kv_heads, eps, interleaved, offset, causal, window, softcap, scale)
        -> (dq, dk, dv, dq_weight, dk_weight, dsinks)

o is [B, Tq, H, D] contiguous, lse [B, H, Tq] the natural logarithm of each row's sum (sink included; 0 for a row that
sees no key). window and softcap are 0 where there is none. starts and ends, [B, T] int32, bound each row's document.
What is absent comes out empty; with q packed, dq is the packed gradient, v's part included. What q_out to k_rstd hold
is the backend's own business between its forward and its backward, but their shapes are those of qk_norm_rope.
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
from pylm_kernels.operands.rope import Rope
from pylm_kernels.operation import differentiable, differentiate, refuse
from pylm_kernels.ops.qk_norm_rope import reference as rotation
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
N_TENSORS, N_SETTINGS = 11, 9


def _forward(*inputs: Any) -> Any:
    return implementation("rope_attention", inputs[-1]).forward(*inputs[:-1])


def _fake(*inputs: Any) -> Any:
    q, k, _, cos, _, _, q_weight, *_ = inputs
    n_heads, n_kv_heads = inputs[N_TENSORS : N_TENSORS + 2]
    b, t, _, d = q.shape
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    turned, norm = cos is not None, q_weight is not None
    return (
        q.new_empty((b, t, n_heads, d)),
        q.new_empty((b, n_heads, t), dtype=wide),
        q.new_empty((b, t, n_heads, d) if turned else (0,)),
        q.new_empty((b, t, n_kv_heads, d) if turned else (0,)),
        q.new_empty((b, t, n_heads) if norm else (0,), dtype=wide if norm else q.dtype if not turned else wide),
        q.new_empty((b, t, n_kv_heads) if norm else (0,), dtype=wide if norm else q.dtype if not turned else wide),
    )


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.settings = inputs[N_TENSORS:]
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*inputs[:N_TENSORS], *output)


def _backward_body(*inputs: Any) -> Any:
    return implementation("rope_attention", inputs[-1]).backward(*inputs[:-1])


def _backward_fake(do: Any, q: Any, k: Any, v: Any, cos: Any, sin: Any, positions: Any, *rest: Any) -> Any:
    q_weight, k_weight, sinks = rest[:3]
    return tuple(q.new_empty(0) if x is None else x.new_empty(x.shape) for x in (q, k, v, q_weight, k_weight, sinks))


def _backward(ctx: Any, run: Any, do: Any, *others: Any) -> Any:
    saved = ctx.saved_tensors  # once: under checkpointing each look unpacks, and a second one is an error
    q, k, v, _, _, _, q_weight, k_weight, sinks, *_ = saved
    found = run(do, *saved, *ctx.settings)
    given = (q, k, v, q_weight, k_weight, sinks)
    grads = tuple(g if x is not None else None for g, x in zip(found, given, strict=True))
    return (*grads[:3], None, None, None, *grads[3:], *(None,) * (2 + N_SETTINGS + 1))


def _composite(ctx: Any, do: Any, *others: Any) -> Any:
    tensors = ctx.saved_tensors[:N_TENSORS]
    angles, masks = tensors[3:6], tensors[9:]  # cos, sin, positions; starts, ends

    def o(q: Any, k: Any, v: Any, *vectors: Any) -> Any:
        return compose("reference", q, k, v, *angles, *vectors, *masks, *ctx.settings[:-1])

    found = differentiate(o, (*tensors[:3], *tensors[6:9]), (do,))
    return (*found[:3], None, None, None, *found[3:], *(None,) * (2 + N_SETTINGS + 1))


def compose(
    way: str, q: Any, k: Any, v: Any, cos: Any, sin: Any, positions: Any, q_weight: Any, k_weight: Any, sinks: Any,
    starts: Any, ends: Any, n_heads: int, n_kv_heads: int, eps: float, interleaved: bool, offset: int, causal: bool,
    window: int, softcap: float, scale: float,
) -> torch.Tensor:  # fmt: skip
    """The operation in plain torch, by its reference or by torch's own attention, from the raw form's arguments."""
    q, k, v = _heads.split(q, k, v, n_heads, n_kv_heads)
    if cos is not None:
        q = rotation.rotate(q, cos, sin, positions, q_weight, eps, interleaved, offset)
        k = rotation.rotate(k, cos, sin, positions, k_weight, eps, interleaved, offset)
    if way == "sdpa":
        return sdpa.attend(q, k, v, starts, ends, causal, window, scale)
    mask = reference.allowed(q.shape[1], k.shape[1], causal, window, starts, ends, q.device)
    return reference.attend(q, k, v, mask, sinks, softcap, scale)


_TENSORS = (
    "Tensor q, Tensor? k, Tensor? v, Tensor? cos, Tensor? sin, Tensor? positions, Tensor? q_weight, Tensor? k_weight,"
    " Tensor? sinks, Tensor? starts, Tensor? ends"
)
_SETTINGS = (
    "int n_heads, int n_kv_heads, float eps, bool interleaved, int offset, bool causal, int window, float softcap,"
    " float scale, str backend"
)
_OUTPUTS = "Tensor o, Tensor lse, Tensor q_out, Tensor k_out, Tensor q_rstd, Tensor k_rstd"
_call = differentiable(
    "rope_attention",
    schema=f"({_TENSORS}, {_SETTINGS}) -> ({_OUTPUTS})",
    forward=_forward,
    fake=_fake,
    setup=_setup,
    backward_schema=f"(Tensor do, {_TENSORS}, {_OUTPUTS}, {_SETTINGS})"
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
    """softmax(q kᵀ) v, with q and k normalised and rotated first where asked; deterministic gradients.

    Args:
        q: [B, Tq, heads, D] of any strides, or with k and v left out the packed projection
            [B, T, (n_heads + 2 n_kv_heads) * D].
        k: [B, Tk, kv heads, D]; kv heads divide heads (GQA, MQA). The last row of q stands at the last key.
        v: like k.
        rope: a pylm_kernels.Rope; None is plain attention.
        n_heads: of q, needed when packed.
        n_kv_heads: of k and v; n_heads by default.
        q_weight: [D], RMS-normalises each head of q before the rotation; both weights or none.
        k_weight: [D], the same for k.
        eps: of that norm.
        causal: a row sees keys up to its own position.
        window: a row sees keys at a distance below this.
        softcap: scores s become softcap * tanh(s / softcap).
        sinks: [heads], a score beside the keys' that takes its share of the softmax and gives nothing.
        cu_seqlens: document ends over the flattened batch, 0 first, or the `Documents` found from them once for all
            layers; rows see their own document only.
        scale: of the scores; 1 / sqrt(D) by default.
        backend: this call's backend, such as "triton", "sdpa" or "reference".

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
    cos, sin = (None, None) if rope is None else rope.tables(q.device)
    raw = (
        heads.q, heads.k, heads.v, cos, sin, None if rope is None else _heads.positions_of(rope, starts), q_weight,
        k_weight, sinks, starts, ends, heads.n_heads, heads.n_kv_heads, float(eps),
        rope is not None and rope.layout == "interleaved", 0 if rope is None else rope.offset, causal, window or 0,
        float(softcap or 0.0), 1 / math.sqrt(d) if scale is None else float(scale),
    )  # fmt: skip
    if name in ("reference", "sdpa"):
        with autocast.off(q):
            return compose(name, *raw)
    o: torch.Tensor = _call(*raw, name)[0]
    return o
