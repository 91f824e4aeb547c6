"""Decoding in one launch: each program turns the new tokens, attends to its part of a cache, the last one joins.

The programs of a row and a head of keys share its filled positions between them (split KV), so that one sequence keeps
a whole GPU busy. What each found goes to memory, and a counter tells the program that arrives last to join the parts;
in a fixed order, whoever that is, so the result has the same bits every time. The counters return to zero by
themselves: a second launch or a fill would cost as much as a short row's attention.
"""
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false, reportOptionalMemberAccess=false
# ruff: noqa: E741 (O is what attention's output is called)
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, union-attr, arg-type, type-arg"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pylm_kernels.operands.caches import Cache
from pylm_kernels.operands.heads import Heads, Mask
from pylm_kernels.operands.rope import Rotation
from pylm_kernels.ops.rope_attention.tiles import scores_of
from pylm_kernels.triton_runtime import launch

if launch.interpreting():
    from pylm_kernels.triton_runtime.interpreter import mend

    mend()

LOG2E = tl.constexpr(1.4426950408889634)
MOST_PARTS = 32  # of a row: the join holds one row's parts in registers


@triton.jit
def _turned(
    X, W, COS, SIN, position, there, d, D, HALF, P, eps,
    NORM: tl.constexpr, INTERLEAVED: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Return the heads at X [rows, 1], normalised and rotated: x · cos ± its partner · sin.

    Dimensions past 2 HALF stay as they are.
    """
    if INTERLEAVED:
        partner = d ^ 1
        angle = d // 2
    else:
        partner = tl.where(d < HALF, d + HALF, d - HALF)
        angle = tl.where(d < HALF, d, d - HALF)
    turning = d < 2 * HALF
    x = tl.load(X + d[None, :], mask=there[:, None] & (d < D)[None, :], other=0.0).to(ACC)
    y = tl.load(X + partner[None, :], mask=there[:, None] & turning[None, :], other=0.0).to(ACC)
    if NORM:
        rstd = (1 / tl.sqrt(tl.sum(x * x, 1) / D + eps))[:, None]
        x = x * rstd * tl.load(W + d, mask=d < D, other=0.0).to(ACC)[None, :]
        y = y * rstd * tl.load(W + partner, mask=turning, other=0.0).to(ACC)[None, :]
    # a position outside the table loads zeros, not memory
    known = (there & (position >= 0) & (position < P))[:, None] & turning[None, :]
    c = tl.load(COS + position[:, None] * HALF + angle[None, :], mask=known, other=0.0).to(ACC)
    s = tl.load(SIN + position[:, None] * HALF + angle[None, :], mask=known, other=0.0).to(ACC)
    c = tl.where(turning[None, :], c, 1.0)
    if INTERLEAVED:
        s = tl.where((d % 2 == 0)[None, :], -s, s)
    else:
        s = tl.where((d < HALF)[None, :], -s, s)
    return x * c + y * s


@triton.jit
def _take(acc, total, top, q, k, v, seen, scale, softcap, SOFTCAP: tl.constexpr, ACC: tl.constexpr):
    """Take one tile of keys into the running softmax, in base 2."""
    s = tl.dot(q, tl.trans(k), tl.zeros([q.shape[0], k.shape[0]], ACC), input_precision="ieee", out_dtype=ACC)
    s = tl.where(seen, scores_of(s, scale, softcap, SOFTCAP) * LOG2E, float("-inf"))
    new = tl.maximum(top, tl.max(s, 1))
    new_finite = tl.where(new == float("-inf"), 0.0, new)  # a row with no key yet: -inf - -inf is not a number
    p = tl.exp2(s - new_finite[:, None])
    fade = tl.exp2(top - new_finite)
    total = total * fade + tl.sum(p, 1)
    acc = tl.dot(p.to(v.dtype), v, acc * fade[:, None], input_precision="ieee", out_dtype=ACC)
    return acc, total, new


@triton.jit
def _join(
    PART, TOP, TOTAL, O, pair, b, g, T, H_K, GROUP, D, parts, DP: tl.constexpr, PARTS: tl.constexpr, ACC: tl.constexpr
):
    """Join the parts of every row of this pair, weighed against each other; other programs wrote them."""
    d = tl.arange(0, DP)
    part = tl.arange(0, PARTS)
    for m in range(0, T * GROUP):
        line = (pair * T * GROUP + m) * parts + part
        top = tl.load(TOP + line, mask=part < parts, other=float("-inf"), cache_modifier=".cg")
        total = tl.load(TOTAL + line, mask=part < parts, other=0.0, cache_modifier=".cg")
        weight = tl.exp2(top - tl.max(top, 0))  # no row is without keys: it sees its own
        some = weight > 0  # a part that saw no key was not written
        acc = tl.load(PART + line[:, None] * DP + d[None, :], mask=some[:, None], other=0.0, cache_modifier=".cg")
        o = tl.sum(acc * weight[:, None], 0) / tl.sum(total * weight, 0)
        row = (b * T + m // GROUP) * (H_K * GROUP) + g * GROUP + m % GROUP
        tl.store(O + row * D + d, o.to(O.dtype.element_ty), mask=d < D)


@triton.jit
def decode_kernel(
    Q, K, V, KC, VC, LENGTHS, O, PART, TOP, TOTAL, DONE, COS, SIN, POS, QW, KW, SINKS,
    T, S, H_K, GROUP, D, HALF, P, offset, pos_b, eps, window, scale, softcap,
    q_s, k_s, v_s, kc_s, vc_s,
    BM: tl.constexpr, BT: tl.constexpr, BN: tl.constexpr, DP: tl.constexpr, PARTS: tl.constexpr, TURN: tl.constexpr,
    NORM: tl.constexpr, INTERLEAVED: tl.constexpr, HAS_POS: tl.constexpr, WINDOW: tl.constexpr, SOFTCAP: tl.constexpr,
    HAS_SINKS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute one part of one row and head of keys, for all T tokens of the GROUP heads of q that share it.

    These are GROUP · T rows.
    """
    pair = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    parts = tl.num_programs(1)
    b = pair // H_K
    g = pair % H_K
    length = tl.load(LENGTHS + b).to(tl.int32)
    d = tl.arange(0, DP)
    m = tl.arange(0, BM)
    t = m // GROUP
    there = m < T * GROUP
    X = Q + (b * q_s.b + t * q_s.t + (g * GROUP + m % GROUP) * q_s.h)[:, None]
    if TURN:
        position = (length + t).to(tl.int64)
        if HAS_POS:
            position = tl.load(POS + b * pos_b + t, mask=there, other=0).to(tl.int64)
        q = _turned(X, QW, COS, SIN, position + offset, there, d, D, HALF, P, eps, NORM, INTERLEAVED, ACC)
        q = q.to(Q.dtype.element_ty)
    else:
        q = tl.load(X + d[None, :], mask=there[:, None] & (d < D)[None, :], other=0.0)
    acc = tl.zeros([BM, DP], ACC)
    total = tl.zeros([BM], ACC)
    top = tl.full([BM], float("-inf"), ACC)
    last = part == parts - 1  # has the fewest filled positions, and so the new ones and the sink
    if HAS_SINKS:
        sink = tl.load(SINKS + g * GROUP + m % GROUP, mask=there, other=0.0).to(ACC) * LOG2E
        top = tl.where(last, sink, top)
        total = tl.where(last, total + 1.0, total)

    low = 0
    if WINDOW:
        low = tl.maximum(length - window + 1, 0)
    share = tl.cdiv(tl.cdiv(length - low, parts), BN) * BN
    first = tl.minimum(low + part * share, length)
    end = tl.minimum(first + share, length)
    n = tl.arange(0, BN)
    KC += b * kc_s.b + g * kc_s.h
    VC += b * vc_s.b + g * vc_s.h
    for at in range(first, end, BN):
        keep = (at + n < end)[:, None] & (d < D)[None, :]
        key = (at + n).to(tl.int64)[:, None]
        k = tl.load(KC + key * kc_s.t + d[None, :], mask=keep, other=0.0)
        v = tl.load(VC + key * vc_s.t + d[None, :], mask=keep, other=0.0)
        seen = there[:, None] & (at + n < end)[None, :]
        if WINDOW:
            seen = seen & ((at + n)[None, :] > (length + t - window)[:, None])
        acc, total, top = _take(acc, total, top, q, k, v, seen, scale, softcap, SOFTCAP, ACC)

    if last:
        j = tl.arange(0, BT)
        new = j < T
        kept = new[:, None] & (d < D)[None, :]
        X_K = K + (b * k_s.b + j * k_s.t + g * k_s.h)[:, None]
        if TURN:
            place = (length + j).to(tl.int64)
            if HAS_POS:
                place = tl.load(POS + b * pos_b + j, mask=new, other=0).to(tl.int64)
            turned = _turned(X_K, KW, COS, SIN, place + offset, new, d, D, HALF, P, eps, NORM, INTERLEAVED, ACC)
            new_k = turned.to(K.dtype.element_ty)
        else:
            new_k = tl.load(X_K + d[None, :], mask=kept, other=0.0)
        new_v = tl.load(V + (b * v_s.b + j * v_s.t + g * v_s.h)[:, None] + d[None, :], mask=kept, other=0.0)
        # a graph that is replayed past the end of its cache must not write elsewhere
        to = (length + j).to(tl.int64)[:, None]
        fits = kept & (to >= 0) & (to < S)
        tl.store(KC + to * kc_s.t + d[None, :], new_k, mask=fits)
        tl.store(VC + to * vc_s.t + d[None, :], new_v, mask=fits)
        before = there[:, None] & new[None, :] & (j[None, :] <= t[:, None])
        if WINDOW:
            before = before & (j[None, :] > t[:, None] - window)
        acc, total, top = _take(acc, total, top, q, new_k, new_v, before, scale, softcap, SOFTCAP, ACC)

    if PARTS == 1:
        row = (b * T + t) * (H_K * GROUP) + g * GROUP + m % GROUP
        o = acc / tl.where(there, total, 1.0)[:, None]
        keep = there[:, None] & (d < D)[None, :]
        tl.store(O + (row * D)[:, None] + d[None, :], o.to(O.dtype.element_ty), mask=keep)
    else:
        line = (pair * T * GROUP + m) * parts + part
        saw = there & (top > float("-inf"))
        tl.store(PART + line[:, None] * DP + d[None, :], acc, mask=saw[:, None])
        tl.store(TOP + line, top, mask=there)
        tl.store(TOTAL + line, total, mask=there)
        tl.debug_barrier()  # every thread's stores before the one thread's release
        arrived = tl.atomic_add(DONE + pair, 1, sem="acq_rel", scope="gpu")
        if arrived == parts - 1:
            tl.debug_barrier()
            _join(PART, TOP, TOTAL, O, pair, b, g, T, H_K, GROUP, D, parts, DP, PARTS, ACC)
            tl.store(DONE + pair, 0)


_counters: dict[tuple[torch.device, int], torch.Tensor] = {}


def counters(x: torch.Tensor, count: int) -> torch.Tensor:
    """Return zeros that a launch leaves as zeros: one buffer a stream, since two streams' launches may overlap."""
    stream = 0
    if x.device.type == "cuda":
        if torch.cuda.is_current_stream_capturing():  # the graph's own, zeroed by it
            return torch.zeros(count, dtype=torch.int32, device=x.device)
        stream = torch.cuda.current_stream(x.device).cuda_stream
    held = _counters.get((x.device, stream))
    if held is None or held.shape[0] < count:
        held = _counters[x.device, stream] = torch.zeros(max(count, 1024), dtype=torch.int32, device=x.device)
    return held


def forward(heads: Heads, cache: Cache, rotation: Rotation, mask: Mask):
    """Compute the raw form, which public.py describes."""
    q, k, v = (launch.last_contiguous(x) for x in heads.parts())
    b, t, n_heads, d = q.shape
    capacity, n_kv_heads = cache.k.shape[1:3]
    group = n_heads // n_kv_heads
    o = torch.empty((b, t, n_heads, d), dtype=q.dtype, device=q.device)
    if b * t == 0:
        return o
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    options = launch.configuration("attention_decode", launch.architecture(q.device), d)
    waves = options.pop("waves")
    wanted = triton.cdiv(waves * launch.processors(q.device), b * n_kv_heads)
    parts = max(1, min(wanted, triton.cdiv(capacity, options["BN"]), MOST_PARTS))
    dp = max(16, launch.power_of_2(d))
    lines = b * n_heads * t * parts if parts > 1 else 0
    part = torch.empty(lines * dp, dtype=wide, device=q.device)
    top, total = (torch.empty(lines, dtype=wide, device=q.device) for _ in range(2))
    cos, sin, positions, q_weight, k_weight, eps, interleaved, offset = rotation
    known, half = cos.shape if cos is not None else (0, 0)
    with launch.on(q):
        decode_kernel[(b * n_kv_heads, parts)](
            q, k, v, *cache, o, part, top, total, counters(q, b * n_kv_heads), cos, sin, positions, q_weight, k_weight,
            mask.sinks, t, capacity, n_kv_heads, group, d, half, known, offset,
            0 if positions is None or positions.shape[0] == 1 else t, eps, mask.window, mask.scale, mask.softcap,
            *(launch.strides(x) for x in (q, k, v, cache.k, cache.v)), BM=max(16, launch.power_of_2(group * t)),
            BT=max(16, launch.power_of_2(t)), DP=dp, PARTS=launch.power_of_2(parts), TURN=cos is not None,
            NORM=q_weight is not None, INTERLEAVED=interleaved, HAS_POS=positions is not None, WINDOW=mask.window > 0,
            SOFTCAP=mask.softcap > 0, HAS_SINKS=mask.sinks is not None,
            ACC=tl.float64 if wide == torch.float64 else tl.float32, **options,
        )  # fmt: skip
    return o
