"""The gradients of attention: one launch for delta, one for dK and dV, one for dQ; no atomics, so the same bits always.

The rotation is undone in the epilogues of dK/dV and dQ, which store straight into the (packed) gradient, where a head
rotates whole, its width is a power of two and no norm stands before the rotation. Otherwise the gradients of the
rotated heads pass through the backward of qk_norm_rope, one more launch.
"""
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false, reportOptionalMemberAccess=false
# ruff: noqa: E741 (O is what attention's output is called)
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, union-attr, arg-type, type-arg"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pylm_kernels.operands.heads import split
from pylm_kernels.ops.qk_norm_rope.triton import last_contiguous, unrotate
from pylm_kernels.ops.rope_attention.tiles import keys_of_rows, masked, rows_of_keys, scores_of, settings
from pylm_kernels.triton_runtime import launch

if launch.interpreting():
    from pylm_kernels.triton_runtime.interpreter import mend

    mend()

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def delta_kernel(
    O, DO, DELTA, ROWS_ALL, T, H, D, do_b, do_t, do_h, ROWS: tl.constexpr, DP: tl.constexpr, ACC: tl.constexpr
):
    """Delta = Σ o · do of each row, which the softmax's gradient subtracts."""
    at = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    t = at % T
    h = (at // T) % H
    b = at // T // H
    d = tl.arange(0, DP)
    keep = (at < ROWS_ALL)[:, None] & (d < D)[None, :]
    o = tl.load(O + (((b * T + t) * H + h) * D)[:, None] + d[None, :], mask=keep, other=0.0).to(ACC)
    do = tl.load(DO + (b * do_b + t * do_t + h * do_h)[:, None] + d[None, :], mask=keep, other=0.0).to(ACC)
    tl.store(DELTA + at, tl.sum(o * do, 1), mask=at < ROWS_ALL)


@triton.jit
def _unturn(
    x, COS, SIN, POS, row, T, P, pos_b, offset,
    ROWS: tl.constexpr, DP: tl.constexpr, INTERLEAVED: tl.constexpr, HAS_POS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The conjugate rotation of a whole tile in registers."""
    HALF: tl.constexpr = DP // 2
    position = row.to(tl.int64)
    if HAS_POS:
        position = tl.load(POS + pos_b + row, mask=row < T, other=0).to(tl.int64)
    position += offset
    at = tl.arange(0, HALF)
    keep = ((row < T) & (position >= 0) & (position < P))[:, None] & (at < HALF)[None, :]
    c = tl.load(COS + position[:, None] * HALF + at[None, :], mask=keep, other=0.0).to(ACC)
    s = tl.load(SIN + position[:, None] * HALF + at[None, :], mask=keep, other=0.0).to(ACC)
    if INTERLEAVED:
        a, b = tl.split(tl.reshape(x, [ROWS, HALF, 2]))
        return tl.reshape(tl.join(a * c + b * s, b * c - a * s), [ROWS, DP])
    a, b = tl.split(tl.permute(tl.reshape(x, [ROWS, 2, HALF]), (0, 2, 1)))
    return tl.reshape(tl.permute(tl.join(a * c + b * s, b * c - a * s), (0, 2, 1)), [ROWS, DP])


@triton.jit
def _rows(
    dk, dv, k, v, Q, DO, LSE, DELTA, STARTS, ENDS, q_t, do_t, key, low, high, T_Q, T_K, shift, window, D, scale,
    softcap, BM: tl.constexpr, DP: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, DOCS: tl.constexpr,
    SOFTCAP: tl.constexpr, MASKED: tl.constexpr, FULL_D: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Gather dK and dV from rows low … high; tiles stand keys first, so that the products need no turn."""
    d = tl.arange(0, DP)
    for first in range(low, high, BM):
        row = first + tl.arange(0, BM)
        if MASKED or not FULL_D:
            keep = (row < T_Q)[:, None] & (d < D)[None, :]
            q = tl.load(Q + row[:, None] * q_t + d[None, :], mask=keep, other=0.0)
            do = tl.load(DO + row[:, None] * do_t + d[None, :], mask=keep, other=0.0)
        else:
            q = tl.load(Q + row[:, None] * q_t + d[None, :])
            do = tl.load(DO + row[:, None] * do_t + d[None, :])
        lse = tl.load(LSE + row, mask=row < T_Q, other=0.0) * LOG2E
        delta = tl.load(DELTA + row, mask=row < T_Q, other=0.0)
        s = tl.dot(k, tl.trans(q), tl.zeros([k.shape[0], BM], ACC), input_precision="ieee", out_dtype=ACC)
        s = scores_of(s, scale, softcap, SOFTCAP)
        p = tl.exp2(s * LOG2E - lse[None, :])
        if MASKED:
            start = tl.zeros([BM], tl.int32)
            end = tl.zeros([BM], tl.int32)
            if DOCS:
                start = tl.load(STARTS + row, mask=row < T_Q, other=T_Q)
                end = tl.load(ENDS + row, mask=row < T_Q, other=0)
            seen = masked(
                row[None, :], key[:, None], start[None, :], end[None, :], T_K, shift, window, CAUSAL, WINDOW, DOCS
            )
            p = tl.where(seen & (row < T_Q)[None, :], p, 0.0)
        dv = tl.dot(p.to(do.dtype), do, dv, input_precision="ieee", out_dtype=ACC)
        dp = tl.dot(v, tl.trans(do), tl.zeros([v.shape[0], BM], ACC), input_precision="ieee", out_dtype=ACC)
        ds = p * (dp - delta[None, :])
        if SOFTCAP:
            ds = ds * (1 - (s / softcap) * (s / softcap))
        dk = tl.dot(ds.to(q.dtype), q, dk, input_precision="ieee", out_dtype=ACC)
    return dk, dv


@triton.jit
def dkdv_kernel(
    Q, K, V, DO, LSE, DELTA, DK, DV, STARTS, ENDS, COS, SIN, POS, T_Q, T_K, H, H_K, D, P, offset, pos_b, window, scale,
    softcap, q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, do_b, do_t, do_h, dk_b, dk_t, dk_h, dv_b, dv_t, dv_h,
    BM: tl.constexpr, BN: tl.constexpr, DP: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    DOCS: tl.constexpr, SOFTCAP: tl.constexpr, FULL_D: tl.constexpr, ROTATED: tl.constexpr, INTERLEAVED: tl.constexpr,
    HAS_POS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """DK and dV of BN keys of one head of k, over all heads of q that share it."""
    first = tl.program_id(0) * BN
    b = (tl.program_id(1) // H_K).to(tl.int64)
    h_k = (tl.program_id(1) % H_K).to(tl.int64)
    key = first + tl.arange(0, BN)
    d = tl.arange(0, DP)
    keep = (key < T_K)[:, None] & (d < D)[None, :]
    at = key[:, None].to(tl.int64)
    k = tl.load(K + b * k_b + h_k * k_h + at * k_t + d[None, :], mask=keep, other=0.0)
    v = tl.load(V + b * v_b + h_k * v_h + at * v_t + d[None, :], mask=keep, other=0.0)
    shift = T_K - T_Q
    STARTS += b * T_Q
    ENDS += b * T_Q
    low, full_low, full_high, high = rows_of_keys(
        first, STARTS, ENDS, T_Q, T_K, shift, window, BM, BN, CAUSAL, WINDOW, DOCS
    )
    dk = tl.zeros([BN, DP], ACC)
    dv = tl.zeros([BN, DP], ACC)
    group = H // H_K
    for member in range(0, group):
        h = h_k * group + member
        q = Q + b * q_b + h * q_h
        do = DO + b * do_b + h * do_h
        lse = LSE + (b * H + h) * T_Q
        delta = DELTA + (b * H + h) * T_Q
        dk, dv = _rows(
            dk, dv, k, v, q, do, lse, delta, STARTS, ENDS, q_t, do_t, key, low, full_low, T_Q, T_K, shift, window, D,
            scale, softcap, BM, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, True, FULL_D, ACC,
        )  # fmt: skip
        dk, dv = _rows(
            dk, dv, k, v, q, do, lse, delta, STARTS, ENDS, q_t, do_t, key, full_low, full_high, T_Q, T_K, shift,
            window, D, scale, softcap, BM, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, False, FULL_D, ACC,
        )  # fmt: skip
        dk, dv = _rows(
            dk, dv, k, v, q, do, lse, delta, STARTS, ENDS, q_t, do_t, key, full_high, high, T_Q, T_K, shift, window, D,
            scale, softcap, BM, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, True, FULL_D, ACC,
        )  # fmt: skip
    dk = dk * scale
    if ROTATED:
        dk = _unturn(dk, COS, SIN, POS, key, T_K, P, b * pos_b, offset, BN, DP, INTERLEAVED, HAS_POS, ACC)
    tl.store(DK + b * dk_b + h_k * dk_h + at * dk_t + d[None, :], dk.to(DK.dtype.element_ty), mask=keep)
    tl.store(DV + b * dv_b + h_k * dv_h + at * dv_t + d[None, :], dv.to(DV.dtype.element_ty), mask=keep)


@triton.jit
def _keys(
    dq, q, do, lse, delta, K, V, k_t, v_t, row, low, high, start, end, T_K, shift, window, D, scale, softcap,
    BN: tl.constexpr, DP: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, DOCS: tl.constexpr,
    SOFTCAP: tl.constexpr, MASKED: tl.constexpr, FULL_D: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Gather dQ from keys low … high."""
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
        s = scores_of(s, scale, softcap, SOFTCAP)
        p = tl.exp2(s * LOG2E - lse[:, None])
        if MASKED:
            seen = masked(
                row[:, None], key[None, :], start[:, None], end[:, None], T_K, shift, window, CAUSAL, WINDOW, DOCS
            )
            p = tl.where(seen, p, 0.0)
        dp = tl.dot(do, tl.trans(v), tl.zeros([q.shape[0], BN], ACC), input_precision="ieee", out_dtype=ACC)
        ds = p * (dp - delta[:, None])
        if SOFTCAP:
            ds = ds * (1 - (s / softcap) * (s / softcap))
        dq = tl.dot(ds.to(k.dtype), k, dq, input_precision="ieee", out_dtype=ACC)
    return dq


@triton.jit
def dq_kernel(
    Q, K, V, DO, LSE, DELTA, DQ, STARTS, ENDS, COS, SIN, POS, T_Q, T_K, H, GROUP, D, P, offset, pos_b, window, scale,
    softcap, q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, do_b, do_t, do_h, dq_b, dq_t, dq_h,
    BM: tl.constexpr, BN: tl.constexpr, DP: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    DOCS: tl.constexpr, SOFTCAP: tl.constexpr, FULL_D: tl.constexpr, ROTATED: tl.constexpr, INTERLEAVED: tl.constexpr,
    HAS_POS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """DQ of BM rows of one head, over the keys that they see."""
    tile = tl.num_programs(0) - 1 - tl.program_id(0)
    b = (tl.program_id(1) // H).to(tl.int64)
    h = (tl.program_id(1) % H).to(tl.int64)
    row = tile * BM + tl.arange(0, BM)
    d = tl.arange(0, DP)
    keep = (row < T_Q)[:, None] & (d < D)[None, :]
    at = row[:, None].to(tl.int64)
    q = tl.load(Q + b * q_b + h * q_h + at * q_t + d[None, :], mask=keep, other=0.0)
    do = tl.load(DO + b * do_b + h * do_h + at * do_t + d[None, :], mask=keep, other=0.0)
    lse = tl.load(LSE + (b * H + h) * T_Q + row, mask=row < T_Q, other=0.0) * LOG2E
    delta = tl.load(DELTA + (b * H + h) * T_Q + row, mask=row < T_Q, other=0.0)
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
    dq = tl.zeros([BM, DP], ACC)
    dq = _keys(
        dq, q, do, lse, delta, K, V, k_t, v_t, row, low, full_low, start, end, T_K, shift, window, D, scale, softcap,
        BN, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, True, FULL_D, ACC,
    )  # fmt: skip
    dq = _keys(
        dq, q, do, lse, delta, K, V, k_t, v_t, row, full_low, full_high, start, end, T_K, shift, window, D, scale,
        softcap, BN, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, False, FULL_D, ACC,
    )  # fmt: skip
    dq = _keys(
        dq, q, do, lse, delta, K, V, k_t, v_t, row, full_high, high, start, end, T_K, shift, window, D, scale, softcap,
        BN, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, True, FULL_D, ACC,
    )  # fmt: skip
    dq = dq * scale
    if ROTATED:
        dq = _unturn(dq, COS, SIN, POS, row, T_Q, P, b * pos_b, offset, BM, DP, INTERLEAVED, HAS_POS, ACC)
    tl.store(DQ + b * dq_b + h * dq_h + at * dq_t + d[None, :], dq.to(DQ.dtype.element_ty), mask=keep)


def backward(
    do, q, k, v, cos, sin, positions, q_weight, k_weight, sinks, starts, ends, o, lse, q_out, k_out, q_rstd, k_rstd,
    n_heads, n_kv_heads, eps, interleaved, offset, causal, window, softcap, scale,
):  # fmt: skip
    """Dq (packed with q), dk, dv, dq_weight, dk_weight, dsinks; what does not exist comes out empty."""
    grads = [torch.empty_like(q, memory_format=torch.contiguous_format)]
    grads += [torch.empty(x.shape if x is not None else (0,), dtype=q.dtype, device=q.device) for x in (k, v)]
    empty = q.new_empty(0)
    q_in, k_in, v_in = split(q, k, v, n_heads, n_kv_heads)
    dq, dk, dv = split(grads[0], grads[1] if k is not None else None, grads[2], n_heads, n_kv_heads)
    dq_weight, dk_weight = empty, empty
    rotated = cos is not None
    used = (q_out, k_out) if rotated else (q_in, k_in)
    q_used, k_used, v_in, do = (launch.within_reach(last_contiguous(x)) for x in (*used, v_in, do))
    b, t_q, n, d = q_used.shape
    t_k, n_k = k_used.shape[1:3]
    if b * t_q * t_k == 0:
        grads = [torch.zeros_like(x) for x in grads]
        rest = [torch.zeros_like(x) if x is not None else empty for x in (q_weight, k_weight, sinks)]
        return (*grads, *rest)
    fused = rotated and q_weight is None and 2 * cos.shape[1] == d and d >= 16 and d == launch.power_of_2(d)
    aside = rotated and not fused
    dq_at = torch.empty_like(q_used) if aside else dq
    dk_at = torch.empty_like(k_used) if aside else dk
    delta = torch.empty_like(lse)
    common = settings(q_used, window, softcap, causal, starts)
    # where nothing is undone in the epilogue the layout is one more constant that would only cause a second compile
    turn = {"ROTATED": fused, "INTERLEAVED": fused and interleaved, "HAS_POS": fused and positions is not None}
    bounds = (lse, lse) if starts is None else (starts, ends)  # unread, but a pointer to count from
    angles = (cos, sin, positions) if fused else (None, None, None)
    size = cos.shape[0] if fused else 0
    pos_b = positions.stride(0) if fused and positions is not None and positions.shape[0] > 1 else 0
    place = launch.architecture(q.device)
    strides = (*q_used.stride()[:3], *k_used.stride()[:3], *v_in.stride()[:3], *do.stride()[:3])
    with launch.on(q):
        rows = b * n * t_q
        delta_kernel[(triton.cdiv(rows, 32),)](
            o, do, delta, rows, t_q, n, d, *do.stride()[:3], ROWS=32, DP=common["DP"], ACC=common["ACC"]
        )  # fmt: skip
        read = (q_used, k_used, v_in, do, lse, delta)
        for *some, start, end, dk_part, dv_part, dq_part, at in launch.shares(
            n, *read, *bounds, dk_at, dv, dq_at, positions if pos_b else None
        ):
            turned = (*angles[:2], at) if pos_b else angles
            options = launch.configuration("attention_dkdv", place, d)
            dkdv_kernel[(triton.cdiv(t_k, options["BN"]), some[0].shape[0] * n_k)](
                *some, dk_part, dv_part, start, end, *turned, t_q, t_k, n, n_k, d, size, offset, pos_b, window,
                scale, softcap, *strides, *dk_at.stride()[:3], *dv.stride()[:3], **turn, **common, **options,
            )  # fmt: skip
            options = launch.configuration("attention_dq", place, d)
            dq_kernel[(triton.cdiv(t_q, options["BM"]), some[0].shape[0] * n)](
                *some, dq_part, start, end, *turned, t_q, t_k, n, n // n_k, d, size, offset, pos_b, window, scale,
                softcap, *strides, *dq_at.stride()[:3], **turn, **common, **options,
            )  # fmt: skip
    if aside:
        dq_weight, dk_weight = unrotate(
            dq_at, dk_at, q_in, k_in, dq, dk, cos, sin, positions, q_weight, k_weight, q_rstd, k_rstd, interleaved,
            offset,
        )  # fmt: skip
    dsinks = empty
    if sinks is not None:
        dsinks = -(torch.exp(sinks.to(lse.dtype)[None, :, None] - lse) * delta).sum((0, 2)).to(sinks.dtype)
    return (*grads, dq_weight, dk_weight, dsinks)
