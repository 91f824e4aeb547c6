"""The parts that both ways of attention share: masks, loop bounds that skip what a mask forbids, launch constants.

Row r of q stands at key r + shift. Causal: key <= r + shift. A window of w: the distance is below w. Documents: key
within [start of r, end of r), where start and end never decrease along a row of the batch.
"""
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pylm_kernels.operands.heads import Mask
from pylm_kernels.triton_runtime import launch


@triton.jit
def masked(
    row, key, start, end, T_K, shift, window, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, DOCS: tl.constexpr
):  # fmt: skip
    """Return which keys these rows see; the shapes broadcast."""
    seen = (key < T_K) & (row >= 0)
    if CAUSAL:
        seen = seen & (key <= row + shift)
    if WINDOW:
        seen = seen & (key > row + shift - window) & (key < row + shift + window)
    if DOCS:
        seen = seen & (key >= start) & (key < end)
    return seen


@triton.jit
def scores_of(s, scale, softcap, SOFTCAP: tl.constexpr):
    """Return the scores of products: scaled, and capped by softcap · tanh(s / softcap)."""
    s = s * scale
    if SOFTCAP:
        # tanh by exp2, which every target has in hardware; it ends at 1 as exp2 overflows to infinity
        s = softcap * (1 - 2 / (tl.exp2(s * (2 * 1.4426950408889634) / softcap) + 1))
    return s


@triton.jit
def keys_of_rows(
    first, STARTS, ENDS, T_Q, T_K, shift, window,
    BM: tl.constexpr, BN: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, DOCS: tl.constexpr,
):  # fmt: skip
    """Return low, full_low, full_high and high, the bounds of the keys that rows first … first + BM see.

    These rows see keys in [low, high) only, and all of [full_low, full_high).
    """
    last = tl.minimum(first + BM, T_Q) - 1
    low = 0
    high = T_K
    a = 0
    b = T_K
    if CAUSAL:
        high = tl.minimum(high, last + shift + 1)
        b = tl.minimum(b, first + shift + 1)
    if WINDOW:
        low = tl.maximum(low, first + shift - window + 1)
        a = tl.maximum(a, last + shift - window + 1)
        high = tl.minimum(high, last + shift + window)
        b = tl.minimum(b, first + shift + window)
    if DOCS:
        low = tl.maximum(low, tl.load(STARTS + first))
        a = tl.maximum(a, tl.load(STARTS + last))
        high = tl.minimum(high, tl.load(ENDS + last))
        b = tl.minimum(b, tl.load(ENDS + first))
    high = tl.maximum(high, low)
    # whole tiles only, counted from low
    full_low = low + tl.cdiv(tl.maximum(a - low, 0), BN) * BN
    full_high = tl.maximum(low + tl.maximum(b - low, 0) // BN * BN, full_low)
    full_low = tl.minimum(full_low, high)
    full_high = tl.minimum(full_high, high)
    full_high = full_low + (full_high - full_low) // BN * BN
    return low, full_low, full_high, high


@triton.jit
def rows_of_keys(
    first, STARTS, ENDS, T_Q, T_K, shift, window,
    BM: tl.constexpr, BN: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, DOCS: tl.constexpr,
):  # fmt: skip
    """Return the bounds of the rows that see keys first … first + BN, and of those that see all of them.

    It is `keys_of_rows` the other way round.
    """
    last = tl.minimum(first + BN, T_K) - 1
    low = 0
    high = T_Q
    a = 0
    b = T_Q
    if CAUSAL:
        low = tl.maximum(low, first - shift)
        a = tl.maximum(a, last - shift)
    if WINDOW:
        high = tl.minimum(high, last - shift + window)
        b = tl.minimum(b, first - shift + window)
        low = tl.maximum(low, first - shift - window + 1)
        a = tl.maximum(a, last - shift - window + 1)
    if DOCS:
        low = tl.maximum(low, tl.load(STARTS + first))
        a = tl.maximum(a, tl.load(STARTS + last))
        high = tl.minimum(high, tl.load(ENDS + last))
        b = tl.minimum(b, tl.load(ENDS + first))
    high = tl.maximum(high, low)
    full_low = low + tl.cdiv(tl.maximum(a - low, 0), BM) * BM
    full_high = tl.maximum(low + tl.maximum(b - low, 0) // BM * BM, full_low)
    full_low = tl.minimum(full_low, high)
    full_high = tl.minimum(full_high, high)
    full_high = full_low + (full_high - full_low) // BM * BM
    return low, full_low, full_high, high


def settings(q: torch.Tensor, mask: Mask):
    """Return the constants that the kernels of both ways share."""
    d = q.shape[-1]
    return {
        "DP": max(16, launch.power_of_2(d)), "CAUSAL": mask.causal, "WINDOW": mask.window > 0,
        "DOCS": mask.starts is not None, "SOFTCAP": mask.softcap > 0,
        "FULL_D": d >= 16 and d == launch.power_of_2(d), "ACC": tl.float64 if q.dtype == torch.float64 else tl.float32,
    }  # fmt: skip
