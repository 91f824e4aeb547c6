"""rope_attention on GPUs, forward: one launch rotates, one attends."""
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false, reportOptionalMemberAccess=false
# ruff: noqa: E741 (O is what attention's output is called)
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, union-attr, arg-type, type-arg"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pylm_kernels.operands.heads import split
from pylm_kernels.ops.qk_norm_rope.triton import last_contiguous, rotate
from pylm_kernels.ops.rope_attention.tiles import keys_of_rows, masked, scores_of, settings
from pylm_kernels.triton_runtime import launch

if launch.interpreting():
    from pylm_kernels.triton_runtime.interpreter import mend

    mend()

LN2 = tl.constexpr(0.6931471805599453)
LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _walk(
    acc, total, top, q, K, V, k_t, v_t, row, low, high, start, end, T_K, shift, window, D, scale, softcap,
    BN: tl.constexpr, DP: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, DOCS: tl.constexpr,
    SOFTCAP: tl.constexpr, MASKED: tl.constexpr, FULL_D: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Attend to keys low … high, a tile at a time, with the running maximum and sum of the softmax in base 2."""
    d = tl.arange(0, DP)
    for first in range(low, high, BN):
        key = first + tl.arange(0, BN)
        if MASKED or not FULL_D:
            keep = (key < T_K)[:, None] & (d < D)[None, :]
            k = tl.load(K + key[:, None] * k_t + d[None, :], mask=keep, other=0.0)
            v = tl.load(V + key[:, None] * v_t + d[None, :], mask=keep, other=0.0)
        else:
            k = tl.load(K + key[:, None] * k_t + d[None, :])
            v = tl.load(V + key[:, None] * v_t + d[None, :])
        s = tl.dot(q, tl.trans(k), tl.zeros([q.shape[0], BN], ACC), input_precision="ieee", out_dtype=ACC)
        s = scores_of(s, scale, softcap, SOFTCAP) * LOG2E
        if MASKED:
            seen = masked(
                row[:, None], key[None, :], start[:, None], end[:, None], T_K, shift, window, CAUSAL, WINDOW, DOCS
            )
            s = tl.where(seen, s, float("-inf"))
        new = tl.maximum(top, tl.max(s, 1))
        if MASKED:
            new_finite = tl.where(new == float("-inf"), 0.0, new)  # a row with no key yet: -inf - -inf is not a number
        else:
            new_finite = new
        p = tl.exp2(s - new_finite[:, None])
        fade = tl.exp2(top - new_finite)
        total = total * fade + tl.sum(p, 1)
        acc = acc * fade[:, None]
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision="ieee", out_dtype=ACC)
        top = new
    return acc, total, top


@triton.jit
def forward_kernel(
    Q, K, V, O, LSE, SINKS, STARTS, ENDS, T_Q, T_K, H, GROUP, D, window, scale, softcap,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h,
    BM: tl.constexpr, BN: tl.constexpr, DP: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    DOCS: tl.constexpr, SOFTCAP: tl.constexpr, HAS_SINKS: tl.constexpr, FULL_D: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """BM rows of one head. Tiles that every row sees in full are walked without masks, between those with."""
    tile = tl.num_programs(0) - 1 - tl.program_id(0)  # under a causal mask the last rows are the longest: first
    b = (tl.program_id(1) // H).to(tl.int64)
    h = (tl.program_id(1) % H).to(tl.int64)
    row = tile * BM + tl.arange(0, BM)
    d = tl.arange(0, DP)
    keep = (row < T_Q)[:, None] & (d < D)[None, :]
    q = tl.load(Q + b * q_b + h * q_h + row[:, None].to(tl.int64) * q_t + d[None, :], mask=keep, other=0.0)
    K += b * k_b + (h // GROUP) * k_h
    V += b * v_b + (h // GROUP) * v_h
    shift = T_K - T_Q
    start = tl.zeros([BM], tl.int32)
    end = tl.zeros([BM], tl.int32) + T_K
    if DOCS:
        start = tl.load(STARTS + b * T_Q + row, mask=row < T_Q, other=T_Q)
        end = tl.load(ENDS + b * T_Q + row, mask=row < T_Q, other=0)
    low, full_low, full_high, high = keys_of_rows(
        tile * BM, STARTS + b * T_Q, ENDS + b * T_Q, T_Q, T_K, shift, window, BM, BN, CAUSAL, WINDOW, DOCS
    )
    acc = tl.zeros([BM, DP], ACC)
    total = tl.zeros([BM], ACC)
    top = tl.full([BM], float("-inf"), ACC)
    if HAS_SINKS:
        top = tl.zeros([BM], ACC) + tl.load(SINKS + h).to(ACC) * LOG2E
        total += 1.0
    acc, total, top = _walk(
        acc, total, top, q, K, V, k_t, v_t, row, low, full_low, start, end, T_K, shift, window, D, scale, softcap,
        BN, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, True, FULL_D, ACC,
    )  # fmt: skip
    acc, total, top = _walk(
        acc, total, top, q, K, V, k_t, v_t, row, full_low, full_high, start, end, T_K, shift, window, D, scale,
        softcap, BN, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, False, FULL_D, ACC,
    )  # fmt: skip
    acc, total, top = _walk(
        acc, total, top, q, K, V, k_t, v_t, row, full_high, high, start, end, T_K, shift, window, D, scale, softcap,
        BN, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, True, FULL_D, ACC,
    )  # fmt: skip
    alone = total == 0.0
    lse = tl.where(alone, 0.0, (top + tl.log2(tl.where(alone, 1.0, total))) * LN2)
    tl.store(LSE + (b * H + h) * T_Q + row, lse, mask=row < T_Q)
    o = acc / tl.where(alone, 1.0, total)[:, None]
    tl.store(O + ((b * T_Q + row[:, None]) * H + h) * D + d[None, :], o.to(O.dtype.element_ty), mask=keep)


def attend(q, k, v, sinks, starts, ends, causal: bool, window: int, softcap: float, scale: float):
    """O [B, Tq, H, D] and the logarithm of each row's sum [B, H, Tq], 0 where a row sees no key."""
    b, t_q, n, d = q.shape
    t_k = k.shape[1]
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    q, k, v = (launch.within_reach(last_contiguous(x)) for x in (q, k, v))
    o = torch.empty((b, t_q, n, d), dtype=q.dtype, device=q.device)
    lse = torch.empty((b, n, t_q), dtype=wide, device=q.device)
    if b * t_q == 0:
        return o, lse
    bounds = (lse, lse) if starts is None else (starts, ends)  # unread, but a pointer to count from
    options = launch.configuration("attention_forward", launch.architecture(q.device), d)
    with launch.on(q):
        for some_q, *rest, start, end in launch.shares(n, q, k, v, o, lse, *bounds):
            forward_kernel[(triton.cdiv(t_q, options["BM"]), some_q.shape[0] * n)](
                some_q, *rest, sinks, start, end, t_q, t_k, n, n // k.shape[2], d, window, scale, softcap,
                *q.stride()[:3], *k.stride()[:3], *v.stride()[:3], HAS_SINKS=sinks is not None,
                **settings(q, window, softcap, causal, starts), **options,
            )  # fmt: skip
    return o, lse


def forward(
    q, k, v, cos, sin, positions, q_weight, k_weight, sinks, starts, ends, n_heads, n_kv_heads, eps, interleaved,
    offset, causal, window, softcap, scale,
):  # fmt: skip
    """The raw form: see public.py."""
    q, k, v = split(q, k, v, n_heads, n_kv_heads)
    empty = q.new_empty(0)
    q_out, k_out, q_rstd, k_rstd = empty, empty.clone(), empty.clone(), empty.clone()
    if cos is not None:
        q, k, q_rstd, k_rstd = rotate(q, k, cos, sin, positions, q_weight, k_weight, eps, interleaved, offset)
        q_out, k_out = q, k
    o, lse = attend(q, k, v, sinks, starts, ends, causal, window, softcap, scale)
    return o, lse, q_out, k_out, q_rstd, k_rstd
