"""linear_cross_entropy on GPUs.

Forward: one launch makes tiles of logits on the tensor cores and keeps of each only its maximum, its sum and the
target's logit; a second, tiny step joins the splits of the vocabulary. Backward: for a slice of the vocabulary at a
time one launch remakes the logits and stores their gradient (rows × slice), and two products by torch turn it into
that slice of dweight, written once, and a share of dx, gathered in float32. Nothing is atomic.
"""
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pylm_kernels.ops.cross_entropy.triton import capped, slope
from pylm_kernels.triton_runtime import launch

if launch.interpreting():
    from pylm_kernels.triton_runtime.interpreter import mend

    mend()

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = 0.6931471805599453


@triton.jit
def _logits(X, W, row, col, N, V, D, x_n, w_v, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, ACC: tl.constexpr):
    """Return a tile of x Wᵀ in ACC."""
    at = tl.arange(0, BK)
    x = X + row[:, None].to(tl.int64) * x_n + at[None, :]
    w = W + col[:, None].to(tl.int64) * w_v + at[None, :]
    tile = tl.zeros([BM, BN], ACC)
    for first in range(0, D, BK):
        keep = first + at < D
        a = tl.load(x + first, mask=(row < N)[:, None] & keep[None, :], other=0.0)
        b = tl.load(w + first, mask=(col < V)[:, None] & keep[None, :], other=0.0)
        tile = tl.dot(a, tl.trans(b), tile, input_precision="ieee", out_dtype=ACC)
    return tile


@triton.jit
def forward_kernel(
    X, W, TARGETS, TOP, TOTAL, RIGHT, N, V, D, x_n, w_v, span, softcap,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SOFTCAP: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute maximum, sum and target logit of BM rows against one split of the vocabulary.

    Rows run fastest in the grid, so that neighbours share the weight in L2.
    """
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    split = tl.program_id(1)
    target = tl.load(TARGETS + row, mask=row < N, other=-1)
    top = tl.full([BM], float("-inf"), ACC)
    total = tl.zeros([BM], ACC)
    right = tl.zeros([BM], ACC)
    for first in range(split * span, tl.minimum(split * span + span, V), BN):
        col = first + tl.arange(0, BN)
        tile = capped(_logits(X, W, row, col, N, V, D, x_n, w_v, BM, BN, BK, ACC), softcap, SOFTCAP)
        right += tl.sum(tl.where(col[None, :] == target[:, None], tile, 0.0), 1)
        tile = tl.where((col < V)[None, :], tile * LOG2E, float("-inf"))
        new = tl.maximum(top, tl.max(tile, 1))
        total = total * tl.exp2(top - new) + tl.sum(tl.exp2(tile - new[:, None]), 1)
        top = new
    at = split * N + row
    tl.store(TOP + at, top, mask=row < N)
    tl.store(TOTAL + at, total, mask=row < N)
    tl.store(RIGHT + at, right, mask=row < N)


@triton.jit
def dlogits_kernel(
    DLOSS, X, W, TARGETS, LSE, G, N, V, D, x_n, w_v, first_col, width, softcap, ignore, z_loss,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SOFTCAP: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write the gradient of a tile of logits into the slice that starts at first_col."""
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    here = tl.program_id(1) * BN + tl.arange(0, BN)
    col = first_col + here
    tile = capped(_logits(X, W, row, col, N, V, D, x_n, w_v, BM, BN, BK, ACC), softcap, SOFTCAP)
    target = tl.load(TARGETS + row, mask=row < N, other=ignore)
    lse = tl.load(LSE + row, mask=row < N, other=0.0)
    g = tl.where(target == ignore, 0.0, tl.load(DLOSS + row, mask=row < N, other=0.0).to(ACC))
    p = tl.exp2((tile - lse[:, None]) * LOG2E)
    d = p * (1 + 2 * z_loss * lse)[:, None] - tl.where(col[None, :] == target[:, None], 1.0, 0.0)
    d = tl.where((g == 0.0)[:, None], 0.0, d * slope(tile, softcap, SOFTCAP) * g[:, None])
    keep = (row < N)[:, None] & (here < width)[None, :]
    tl.store(G + row[:, None].to(tl.int64) * width + here[None, :], d.to(G.dtype.element_ty), mask=keep)


def _options(kernel: str, x, softcap: float):
    options = launch.configuration(kernel, launch.architecture(x.device), 8 * x.element_size())
    return {"SOFTCAP": softcap > 0, "ACC": tl.float64 if x.dtype == torch.float64 else tl.float32, **options}


def forward(x, weight, targets, softcap: float, ignore_index: int, z_loss: float, ahead: bool, frozen: bool):
    """Return the loss and the log-sum of each row, and no gradients ahead of their time."""
    x, weight = launch.rows_of(x), launch.rows_of(weight)
    n, d = x.shape
    v = weight.shape[0]
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    if n == 0:
        return *(torch.empty(0, dtype=wide, device=x.device) for _ in range(2)), x.new_empty(0), x.new_empty(0)
    options = _options("linear_cross_entropy_forward", x, softcap)
    # as many splits as give each multiprocessor about four programs, each a whole number of tiles
    tiles = triton.cdiv(v, options["BN"])
    wanted = max(1, 4 * launch.processors(x.device) // triton.cdiv(n, options["BM"]))
    span = triton.cdiv(tiles, min(wanted, tiles)) * options["BN"]
    splits = triton.cdiv(v, span)
    top, total, right = (torch.empty((splits, n), dtype=wide, device=x.device) for _ in range(3))
    with launch.on(x):
        forward_kernel[(triton.cdiv(n, options["BM"]), splits)](
            x, weight, targets, top, total, right, n, v, d, x.stride(0), weight.stride(0), span, softcap, **options
        )
    highest = top.amax(0)
    lse = (highest + (total * torch.exp2(top - highest)).sum(0).log2()) * LN2
    counts = targets != ignore_index
    lse = torch.where(counts, lse, 0.0)
    inside = (targets >= 0) & (targets < v)
    target = torch.where(inside, right.sum(0), float("-inf"))
    return torch.where(counts, lse - target + z_loss * lse.square(), 0.0), lse, x.new_empty(0), x.new_empty(0)


def backward(
    dloss, x, weight, targets, lse, _dx, _dweight, softcap: float, ignore_index: int, z_loss: float, ahead: bool,
    frozen: bool,
):  # fmt: skip
    """Return dx and dweight, which is empty where the weight is frozen."""
    x, weight, dloss = launch.rows_of(x), launch.rows_of(weight), dloss.contiguous()
    n, d = x.shape
    v = weight.shape[0]
    dweight = torch.empty((0,) if frozen else (v, d), dtype=weight.dtype, device=x.device)
    if n == 0:
        return torch.empty_like(x), dweight.zero_()
    options = _options("linear_cross_entropy_dlogits", x, softcap)
    width = min(v, options.pop("SLICE"))
    dx = torch.zeros((n, d), dtype=lse.dtype, device=x.device)
    slice_NS = torch.empty(n * width, dtype=x.dtype, device=x.device)
    for first in range(0, v, width):
        wide = min(width, v - first)
        g = slice_NS[: n * wide].view(n, wide)
        with launch.on(x):
            dlogits_kernel[(triton.cdiv(n, options["BM"]), triton.cdiv(wide, options["BN"]))](
                dloss, x, weight, targets, lse, g, n, v, d, x.stride(0), weight.stride(0), first, wide, softcap,
                ignore_index, z_loss, **options,
            )  # fmt: skip
        part = weight[first : first + wide]
        dx += g @ part
        if not frozen:
            torch.mm(g.T, x, out=dweight[first : first + wide])
    return dx.to(x.dtype), dweight
