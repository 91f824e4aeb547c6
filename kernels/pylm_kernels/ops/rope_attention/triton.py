"""rope_attention on GPUs, forward: one launch rotates, one attends.

The scores of 2,048 rows are 8.4 MB a head in bf16, written and read twice by an attention that stores them. Here a
program keeps BM rows of one head in registers and walks over the keys, BN at a time, with what a softmax needs of the
keys behind it: the highest score so far, the sum of exponentials, and the weighted sum of the values. What leaves the
chip is linear in the length: O, and one number a row for the backward, the logarithm of its sum.

Positions within a row of the batch are 32-bit: in 64 bits the forward took 155 registers in place of 124 and dQ
spilled (sm_90). `launch.within_reach` copies what would reach further.
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
from pylm_kernels.ops.qk_norm_rope.triton import rotate
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
    """Attend to keys low … high, a tile at a time, with the running maximum and sum of the softmax in base 2.

    A softmax does not change when a constant is taken from every score. It is the highest one so far, `top`, so that no
    exponential overflows; when a tile brings a higher one, `fade` brings what was summed before down to it.
    """
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
        s = scores_of(s, scale, softcap, SOFTCAP) * LOG2E  # exp(x) = 2^(x · log2 e), and 2^x is one instruction
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
        # tensor cores multiply what the model is in and add in float32. In bf16 each weight is off by up to 2^-9; their
        # sum above is not, and errors of either sign meet in acc: 5e-3 is what the tests allow in all
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision="ieee", out_dtype=ACC)
        top = new
    return acc, total, top


@triton.jit
def forward_kernel(
    Q, K, V, O, LSE, SINKS, STARTS, ENDS, T_Q, T_K, H, GROUP, D, window, scale, softcap,
    q_s, k_s, v_s,
    BM: tl.constexpr, BN: tl.constexpr, DP: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    DOCS: tl.constexpr, SOFTCAP: tl.constexpr, HAS_SINKS: tl.constexpr, FULL_D: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute the attention of BM rows of one head.

    Tiles that every row sees in full are walked without masks, between those with.

    Under a causal mask half of all tiles are never walked, and of those that are the diagonal cuts BM / BN for each
    program: 2 of up to 32 with 2,048 keys, 128 rows and 64 keys a tile. In the others a score costs no comparison
    and no selection beside its scale, maximum, exponential, sum and cast.
    """
    tile = tl.num_programs(0) - 1 - tl.program_id(0)  # under a causal mask the last rows are the longest: first
    b = (tl.program_id(1) // H).to(tl.int64)
    h = (tl.program_id(1) % H).to(tl.int64)
    row = tile * BM + tl.arange(0, BM)
    d = tl.arange(0, DP)
    keep = (row < T_Q)[:, None] & (d < D)[None, :]
    q = tl.load(Q + b * q_s.b + h * q_s.h + row[:, None].to(tl.int64) * q_s.t + d[None, :], mask=keep, other=0.0)
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
    acc = tl.zeros([BM, DP], ACC)
    total = tl.zeros([BM], ACC)
    top = tl.full([BM], float("-inf"), ACC)
    if HAS_SINKS:  # as after a tile of one key with this score, 2^(sink - sink) = 1, and a value of zeros
        top = tl.zeros([BM], ACC) + tl.load(SINKS + h).to(ACC) * LOG2E
        total += 1.0
    acc, total, top = _walk(
        acc, total, top, q, K, V, k_s.t, v_s.t, row, low, full_low, start, end, T_K, shift, window, D, scale, softcap,
        BN, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, True, FULL_D, ACC,
    )  # fmt: skip
    acc, total, top = _walk(
        acc, total, top, q, K, V, k_s.t, v_s.t, row, full_low, full_high, start, end, T_K, shift, window, D, scale,
        softcap, BN, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, False, FULL_D, ACC,
    )  # fmt: skip
    acc, total, top = _walk(
        acc, total, top, q, K, V, k_s.t, v_s.t, row, full_high, high, start, end, T_K, shift, window, D, scale, softcap,
        BN, DP, CAUSAL, WINDOW, DOCS, SOFTCAP, True, FULL_D, ACC,
    )  # fmt: skip
    alone = total == 0.0  # a row that sees no key
    # with it the backward makes each weight anew as exp(score - lse), without a running maximum
    lse = tl.where(alone, 0.0, (top + tl.log2(tl.where(alone, 1.0, total))) * LN2)
    tl.store(LSE + (b * H + h) * T_Q + row, lse, mask=row < T_Q)
    o = acc / tl.where(alone, 1.0, total)[:, None]
    tl.store(O + ((b * T_Q + row[:, None]) * H + h) * D + d[None, :], o.to(O.dtype.element_ty), mask=keep)


def attend(q, k, v, mask: Mask):
    """Return O [B, Tq, H, D] and the logarithm of each row's sum [B, H, Tq], 0 where a row sees no key."""
    b, t_q, n, d = q.shape
    t_k = k.shape[1]
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    q, k, v = (launch.within_reach(launch.last_contiguous(x)) for x in (q, k, v))
    o = torch.empty((b, t_q, n, d), dtype=q.dtype, device=q.device)
    lse = torch.empty((b, n, t_q), dtype=wide, device=q.device)
    if b * t_q == 0:
        return o, lse
    bounds = (lse, lse) if mask.starts is None else (mask.starts, mask.ends)  # unread, but a pointer to count from
    options = launch.configuration("attention_forward", launch.architecture(q.device), d)
    with launch.on(q):
        for some_q, *rest, start, end in launch.shares(n, q, k, v, o, lse, *bounds):
            forward_kernel[(triton.cdiv(t_q, options["BM"]), some_q.shape[0] * n)](
                some_q, *rest, mask.sinks, start, end, t_q, t_k, n, n // k.shape[2], d, mask.window, mask.scale,
                mask.softcap, *(launch.strides(x) for x in (q, k, v)), HAS_SINKS=mask.sinks is not None,
                **settings(q, mask), **options,
            )  # fmt: skip
    return o, lse


def forward(heads: Heads, rotation: Rotation, mask: Mask):
    """Compute the raw form, which public.py describes."""
    q, k, v = heads.parts()
    rotated = Rotated(*(q.new_empty(0) for _ in Rotated._fields))
    if rotation.cos is not None:
        rotated = rotate(q, k, rotation)
        q, k = rotated.q, rotated.k
    return *attend(q, k, v, mask), *rotated
