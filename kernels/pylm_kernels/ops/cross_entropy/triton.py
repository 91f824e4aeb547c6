"""cross_entropy on GPUs: one launch forward (logits read once), one backward (read once, gradient written once)."""
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pylm_kernels.triton_runtime import launch

if launch.interpreting():
    from pylm_kernels.triton_runtime.interpreter import mend

    mend()

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def capped(x, softcap, SOFTCAP: tl.constexpr):
    """Return softcap · tanh(x / softcap), computed by exp2; it ends at ±softcap as exp2 overflows."""
    if SOFTCAP:
        x = softcap * (1 - 2 / (tl.exp2(x * (2 * 1.4426950408889634) / softcap) + 1))
    return x


@triton.jit
def slope(x, softcap, SOFTCAP: tl.constexpr):
    """Return the derivative of the cap, from the capped value."""
    if SOFTCAP:
        return 1 - (x / softcap) * (x / softcap)
    return x * 0 + 1


@triton.jit
def forward_kernel(
    X, TARGETS, LOSS, LSE, V, stride, softcap, ignore, z_loss,
    BLOCK: tl.constexpr, SOFTCAP: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute the loss and log-sum of one row: each lane has a running maximum and sum, joined at the end."""
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(TARGETS + row)
    if target == ignore:
        tl.store(LOSS + row, 0.0)
        tl.store(LSE + row, 0.0)
    else:
        top = tl.full([BLOCK], float("-inf"), ACC)
        total = tl.zeros([BLOCK], ACC)
        at = tl.arange(0, BLOCK)
        for first in range(0, V, BLOCK):
            x = tl.load(X + row * stride + first + at, mask=first + at < V, other=0.0).to(ACC)
            x = tl.where(first + at < V, capped(x, softcap, SOFTCAP) * LOG2E, float("-inf"))
            new = tl.maximum(top, x)
            finite = tl.where(new == float("-inf"), 0.0, new)
            total = total * tl.exp2(top - finite) + tl.exp2(x - finite)
            top = new
        highest = tl.max(top, 0)
        lse = (highest + tl.log2(tl.sum(total * tl.exp2(top - highest), 0))) * LN2
        inside = (target >= 0) & (target < V)
        right = capped(tl.load(X + row * stride + target, mask=inside, other=0.0).to(ACC), softcap, SOFTCAP)
        right = tl.where(inside, right, float("-inf"))
        tl.store(LOSS + row, lse - right + z_loss * lse * lse)
        tl.store(LSE + row, lse)


@triton.jit
def backward_kernel(
    DLOSS, X, TARGETS, LSE, DX, V, stride, softcap, ignore, z_loss,
    BLOCK: tl.constexpr, SOFTCAP: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute a block of one row's gradient; an ignored row gets zeros."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    target = tl.load(TARGETS + row)
    lse = tl.load(LSE + row).to(ACC)
    g = tl.where(target == ignore, 0.0, tl.load(DLOSS + row).to(ACC))
    x = capped(tl.load(X + row * stride + at, mask=at < V, other=0.0).to(ACC), softcap, SOFTCAP)
    p = tl.exp2((x - lse) * LOG2E)
    dx = p * (1 + 2 * z_loss * lse) - tl.where(at == target, 1.0, 0.0)
    dx = tl.where(g == 0.0, 0.0, dx * slope(x, softcap, SOFTCAP) * g)
    tl.store(DX + row * V + at, dx.to(DX.dtype.element_ty), mask=at < V)


def _options(x, softcap: float):
    options = launch.configuration("cross_entropy", launch.architecture(x.device), x.shape[1])
    block = min(options.pop("BLOCK"), launch.power_of_2(x.shape[1]))
    return {
        "BLOCK": block, "SOFTCAP": softcap > 0, "ACC": tl.float64 if x.dtype == torch.float64 else tl.float32, **options
    }  # fmt: skip


def forward(logits, targets, softcap: float, ignore_index: int, z_loss: float):
    """Return the loss and the log-sum of each row."""
    x = launch.rows_of(logits)
    n, v = x.shape
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    loss, lse = (torch.empty(n, dtype=wide, device=x.device) for _ in range(2))
    if n:
        with launch.on(x):
            forward_kernel[(n,)](
                x, targets, loss, lse, v, x.stride(0), softcap, ignore_index, z_loss, **_options(x, softcap)
            )
    return loss, lse


def backward(dloss, logits, targets, lse, softcap: float, ignore_index: int, z_loss: float):
    """Return the gradient of the logits."""
    x = launch.rows_of(logits)
    n, v = x.shape
    dx = torch.empty((n, v), dtype=x.dtype, device=x.device)
    if n:
        options = _options(x, softcap)
        with launch.on(x):
            backward_kernel[(n, triton.cdiv(v, options["BLOCK"]))](
                dloss.contiguous(), x, targets, lse, dx, v, x.stride(0), softcap, ignore_index, z_loss, **options
            )
    return dx
