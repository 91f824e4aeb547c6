"""The gradients of attention: one launch for delta, one for dK and dV, one for dQ; no atomics, so the same bits always.

With P the weights: dV = Pᵀ dO, dP = dO Vᵀ, dS = P · (dP - delta), dQ = dS K and dK = dSᵀ Q, times the scale. P is not
stored: it is exp(S - lse), made anew from Q and K. delta is Σ p · dp over a row's keys, which is Σ o · do over its
dimensions, a number a row that is found before any key is looked at.

dK and dV are sums over rows, dQ is one over keys. One kernel for all would make 5 products and add one of the sums to
memory by atomics, in another order and so with other bits at every run; two kernels make S and dP twice, 7 products.

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

from pylm_kernels.operands.heads import Heads, Mask
from pylm_kernels.operands.rope import Rotated, Rotation
from pylm_kernels.ops.qk_norm_rope.triton import unrotate
from pylm_kernels.ops.rope_attention.tiles import keys_of_rows, masked, rows_of_keys, scores_of, settings
from pylm_kernels.triton_runtime import launch

if launch.interpreting():
    from pylm_kernels.triton_runtime.interpreter import mend

    mend()

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def delta_kernel(O, DO, DELTA, ROWS_ALL, T, H, D, do_s, ROWS: tl.constexpr, DP: tl.constexpr, ACC: tl.constexpr):
    """Compute delta = Σ o · do of each row, which the softmax's gradient subtracts."""
    at = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    t = at % T
    h = (at // T) % H
    b = at // T // H
    d = tl.arange(0, DP)
    keep = (at < ROWS_ALL)[:, None] & (d < D)[None, :]
    o = tl.load(O + (((b * T + t) * H + h) * D)[:, None] + d[None, :], mask=keep, other=0.0).to(ACC)
    do = tl.load(DO + (b * do_s.b + t * do_s.t + h * do_s.h)[:, None] + d[None, :], mask=keep, other=0.0).to(ACC)
    tl.store(DELTA + at, tl.sum(o * do, 1), mask=at < ROWS_ALL)


@triton.jit
def _unturn(
    x, COS, SIN, POS, row, T, P, pos_b, offset,
    ROWS: tl.constexpr, DP: tl.constexpr, INTERLEAVED: tl.constexpr, HAS_POS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Return a whole tile rotated back in registers, by the conjugate rotation."""
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
        if SOFTCAP:  # the slope of softcap · tanh(x / softcap), from its value
            ds = ds * (1 - (s / softcap) * (s / softcap))
        dk = tl.dot(ds.to(q.dtype), q, dk, input_precision="ieee", out_dtype=ACC)
    return dk, dv


@triton.jit
def dkdv_kernel(
    Q, K, V, DO, LSE, DELTA, DK, DV, STARTS, ENDS, COS, SIN, POS, T_Q, T_K, H, H_K, D, P, offset, pos_b, window, scale,
    softcap, q_s, k_s, v_s, do_s, dk_s, dv_s,
    BM: tl.constexpr, BN: tl.constexpr, DP: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    DOCS: tl.constexpr, SOFTCAP: tl.constexpr, FULL_D: tl.constexpr, ROTATED: tl.constexpr, INTERLEAVED: tl.constexpr,
    HAS_POS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute dK and dV of BN keys of one head of k, over all heads of q that share it."""
    first = tl.program_id(0) * BN
    b = (tl.program_id(1) // H_K).to(tl.int64)
    h_k = (tl.program_id(1) % H_K).to(tl.int64)
    key = first + tl.arange(0, BN)
    d = tl.arange(0, DP)
    keep = (key < T_K)[:, None] & (d < D)[None, :]
    at = key[:, None].to(tl.int64)
    k = tl.load(K + b * k_s.b + h_k * k_s.h + at * k_s.t + d[None, :], mask=keep, other=0.0)
    v = tl.load(V + b * v_s.b + h_k * v_s.h + at * v_s.t + d[None, :], mask=keep, other=0.0)
    shift = T_K - T_Q
    STARTS += b * T_Q
    ENDS += b * T_Q
    low, full_low, full_high, high = rows_of_keys(
        first, STARTS, ENDS, T_Q, T_K, shift, window, BM, BN, CAUSAL, WINDOW, DOCS
    )
    # these two are why tiles are small here: 128 keys of 64 are 64 registers a thread of eight warps, of 225 in all
    # (sm_90); with 64 rows a tile and heads of 256 the kernel spilled 528 bytes, so there it has 16 rows and 32 keys
    dk = tl.zeros([BN, DP], ACC)
    dv = tl.zeros([BN, DP], ACC)
    group = H // H_K
    for member in range(0, group):
        h = h_k * group + member
        q = Q + b * q_s.b + h * q_s.h
        do = DO + b * do_s.b + h * do_s.h
        lse = LSE + (b * H + h) * T_Q
        delta = DELTA + (b * H + h) * T_Q
        dk, dv = _rows(
            dk, dv, k, v, q, do, lse, delta, STARTS, ENDS, q_s.t, do_s.t, key, low, full_low, T_Q, T_K, shift, window,
            D, scale, softcap, BM, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, True, FULL_D, ACC,
        )  # fmt: skip
        dk, dv = _rows(
            dk, dv, k, v, q, do, lse, delta, STARTS, ENDS, q_s.t, do_s.t, key, full_low, full_high, T_Q, T_K, shift,
            window, D, scale, softcap, BM, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, False, FULL_D, ACC,
        )  # fmt: skip
        dk, dv = _rows(
            dk, dv, k, v, q, do, lse, delta, STARTS, ENDS, q_s.t, do_s.t, key, full_high, high, T_Q, T_K, shift, window,
            D, scale, softcap, BM, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, True, FULL_D, ACC,
        )  # fmt: skip
    dk = dk * scale
    if ROTATED:
        dk = _unturn(dk, COS, SIN, POS, key, T_K, P, b * pos_b, offset, BN, DP, INTERLEAVED, HAS_POS, ACC)
    tl.store(DK + b * dk_s.b + h_k * dk_s.h + at * dk_s.t + d[None, :], dk.to(DK.dtype.element_ty), mask=keep)
    tl.store(DV + b * dv_s.b + h_k * dv_s.h + at * dv_s.t + d[None, :], dv.to(DV.dtype.element_ty), mask=keep)


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
    softcap, q_s, k_s, v_s, do_s, dq_s,
    BM: tl.constexpr, BN: tl.constexpr, DP: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    DOCS: tl.constexpr, SOFTCAP: tl.constexpr, FULL_D: tl.constexpr, ROTATED: tl.constexpr, INTERLEAVED: tl.constexpr,
    HAS_POS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute dQ of BM rows of one head, over the keys that they see."""
    tile = tl.num_programs(0) - 1 - tl.program_id(0)
    b = (tl.program_id(1) // H).to(tl.int64)
    h = (tl.program_id(1) % H).to(tl.int64)
    row = tile * BM + tl.arange(0, BM)
    d = tl.arange(0, DP)
    keep = (row < T_Q)[:, None] & (d < D)[None, :]
    at = row[:, None].to(tl.int64)
    q = tl.load(Q + b * q_s.b + h * q_s.h + at * q_s.t + d[None, :], mask=keep, other=0.0)
    do = tl.load(DO + b * do_s.b + h * do_s.h + at * do_s.t + d[None, :], mask=keep, other=0.0)
    lse = tl.load(LSE + (b * H + h) * T_Q + row, mask=row < T_Q, other=0.0) * LOG2E
    delta = tl.load(DELTA + (b * H + h) * T_Q + row, mask=row < T_Q, other=0.0)
    K += b * k_s.b + (h // GROUP) * k_s.h
    V += b * v_s.b + (h // GROUP) * v_s.h
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
        dq, q, do, lse, delta, K, V, k_s.t, v_s.t, row, low, full_low, start, end, T_K, shift, window, D, scale,
        softcap, BN, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, True, FULL_D, ACC,
    )  # fmt: skip
    dq = _keys(
        dq, q, do, lse, delta, K, V, k_s.t, v_s.t, row, full_low, full_high, start, end, T_K, shift, window, D, scale,
        softcap, BN, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, False, FULL_D, ACC,
    )  # fmt: skip
    dq = _keys(
        dq, q, do, lse, delta, K, V, k_s.t, v_s.t, row, full_high, high, start, end, T_K, shift, window, D, scale,
        softcap, BN, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, True, FULL_D, ACC,
    )  # fmt: skip
    dq = dq * scale
    if ROTATED:
        dq = _unturn(dq, COS, SIN, POS, row, T_Q, P, b * pos_b, offset, BM, DP, INTERLEAVED, HAS_POS, ACC)
    tl.store(DQ + b * dq_s.b + h * dq_s.h + at * dq_s.t + d[None, :], dq.to(DQ.dtype.element_ty), mask=keep)


def backward(do, heads: Heads, rotation: Rotation, mask: Mask, o, lse, rotated: Rotated):
    """Return dq (packed where q is), dk, dv, dq_weight, dk_weight, dsinks; what does not exist comes out empty."""
    q, k, v = heads[:3]
    grads = [torch.empty_like(q, memory_format=torch.contiguous_format)]
    grads += [torch.empty(x.shape if x is not None else (0,), dtype=q.dtype, device=q.device) for x in (k, v)]
    empty = q.new_empty(0)
    q_in, k_in, v_in = heads.parts()
    dq, dk, dv = heads._replace(q=grads[0], k=None if k is None else grads[1], v=grads[2]).parts()
    turned = rotation.cos is not None
    used = (rotated.q, rotated.k) if turned else (q_in, k_in)
    q_used, k_used, v_in, do = (launch.within_reach(launch.last_contiguous(x)) for x in (*used, v_in, do))
    b, t_q, _, d = q_used.shape
    if b * t_q * k_used.shape[1] == 0:
        grads = [torch.zeros_like(x) for x in grads]
        vectors = (rotation.q_weight, rotation.k_weight, mask.sinks)
        return *grads, *(torch.zeros_like(x) if x is not None else empty for x in vectors)
    half = rotation.cos.shape[1] if turned else 0
    fused = rotation.q_weight is None and 2 * half == d and d >= 16 and d == launch.power_of_2(d)
    aside = turned and not fused
    dq_at = torch.empty_like(q_used) if aside else dq
    dk_at = torch.empty_like(k_used) if aside else dk
    delta = torch.empty_like(lse)
    _launches((q_used, k_used, v_in, do, lse, delta), (dk_at, dv, dq_at), o, rotation, fused, mask)
    dq_weight = dk_weight = dsinks = empty
    if aside:
        rstds = rotated.q_rstd, rotated.k_rstd
        dq_weight, dk_weight = unrotate(dq_at, dk_at, q_in, k_in, dq, dk, rotation, *rstds)
    if (sinks := mask.sinks) is not None:
        dsinks = -(torch.exp(sinks.to(lse.dtype)[None, :, None] - lse) * delta).sum((0, 2)).to(sinks.dtype)
    return *grads, dq_weight, dk_weight, dsinks


def _launches(read, into, o, rotation: Rotation, fused: bool, mask: Mask) -> None:
    """Write delta, then dk and dv, then dq, from q, k, v, do and lse.

    Gradients of rotated heads are rotated back on the way if fused.
    """
    q, k, v, do, _, delta = read
    b, t_q, n, d = q.shape
    t_k, n_k = k.shape[1:3]
    common = settings(q, mask)
    cos, sin, positions = rotation[:3] if fused else (None, None, None)
    # where nothing is undone in the epilogue the layout is one more constant that would only cause a second compile
    common |= {"ROTATED": fused, "INTERLEAVED": fused and rotation.interleaved, "HAS_POS": positions is not None}
    pos_b = positions.stride(0) if positions is not None and positions.shape[0] > 1 else 0
    bounds = (delta, delta) if mask.starts is None else (mask.starts, mask.ends)  # unread, but a pointer to count from
    numbers = (d, cos.shape[0] if fused else 0, rotation.offset, pos_b, mask.window, mask.scale, mask.softcap)
    strides = [launch.strides(x) for x in (q, k, v, do)]
    dk_s, dv_s, dq_s = (launch.strides(x) for x in into)
    place = launch.architecture(q.device)
    of_keys, of_rows = (launch.configuration(f"attention_{name}", place, d) for name in ("dkdv", "dq"))
    with launch.on(q):
        rows = b * n * t_q
        delta_kernel[(triton.cdiv(rows, 32),)](
            o, do, delta, rows, t_q, n, d, strides[3], ROWS=32, DP=common["DP"], ACC=common["ACC"]
        )
        for *some, start, end, dk, dv, dq, at in launch.shares(n, *read, *bounds, *into, positions if pos_b else None):
            turned = (cos, sin, at if pos_b else positions)
            dkdv_kernel[(triton.cdiv(t_k, of_keys["BN"]), len(dk) * n_k)](
                *some, dk, dv, start, end, *turned, t_q, t_k, n, n_k, *numbers, *strides, dk_s, dv_s, **common,
                **of_keys,
            )  # fmt: skip
            dq_kernel[(triton.cdiv(t_q, of_rows["BM"]), len(dq) * n)](
                *some, dq, start, end, *turned, t_q, t_k, n, n // n_k, *numbers, *strides, dq_s, **common, **of_rows
            )
