"""layer_norm on GPUs: one launch forward; backward one launch over rows and one small sum, as in rms_norm."""
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, union-attr, arg-type, type-arg"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pylm_kernels.triton_runtime import launch

if launch.interpreting():
    from pylm_kernels.triton_runtime.interpreter import mend

    mend()


@triton.jit
def forward_kernel(
    X, R, W, B, Y, H, MEAN, RSTD, M, N, stride_x, stride_r, eps,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, HAS_W: tl.constexpr, HAS_B: tl.constexpr, HAS_R: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Normalise ROWS whole rows in registers.

    The mean comes first, then the squares of what is left, so that nothing cancels.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    col = tl.arange(0, BLOCK)
    keep = (row < M)[:, None] & (col < N)[None, :]
    h = tl.load(X + row[:, None] * stride_x + col[None, :], mask=keep, other=0.0).to(ACC)
    if HAS_R:
        h += tl.load(R + row[:, None] * stride_r + col[None, :], mask=keep, other=0.0).to(ACC)
        h = h.to(H.dtype.element_ty)  # what is normalised is what is returned, rounding included
        tl.store(H + row[:, None] * N + col[None, :], h, mask=keep)
        h = h.to(ACC)
    mean = tl.sum(h, 1) / N
    y = tl.where(keep, h - mean[:, None], 0.0)
    rstd = 1 / tl.sqrt(tl.sum(y * y, 1) / N + eps)
    tl.store(MEAN + row, mean, mask=row < M)
    tl.store(RSTD + row, rstd, mask=row < M)
    y = y * rstd[:, None]
    if HAS_W:
        y = y * tl.load(W + col, mask=col < N, other=0.0).to(ACC)[None, :]
    if HAS_B:
        y = y + tl.load(B + col, mask=col < N, other=0.0).to(ACC)[None, :]
    tl.store(Y + row[:, None] * N + col[None, :], y.to(Y.dtype.element_ty), mask=keep)


@triton.jit
def backward_kernel(
    DY, DH, H, W, MEAN, RSTD, DX, DW, DB, M, N, stride_dy, stride_dh, stride_h,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, HAS_W: tl.constexpr, HAS_DH: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Compute dX of rows pid, pid + programs, …, and this program's share of dW and dB.

    dW and dB of these rows end in this program's own lines: no atomics.
    """
    pid = tl.program_id(0)
    col = tl.arange(0, BLOCK)
    dw = tl.zeros([BLOCK], ACC)
    db = tl.zeros([BLOCK], ACC)
    for first in range(pid * ROWS, M, tl.num_programs(0) * ROWS):
        row = first + tl.arange(0, ROWS).to(tl.int64)
        keep = (row < M)[:, None] & (col < N)[None, :]
        mean = tl.load(MEAN + row, mask=row < M, other=0.0)[:, None]
        rstd = tl.load(RSTD + row, mask=row < M, other=0.0)[:, None]
        h = tl.load(H + row[:, None] * stride_h + col[None, :], mask=keep, other=0.0).to(ACC)
        xhat = tl.where(keep, (h - mean) * rstd, 0.0)
        g = tl.load(DY + row[:, None] * stride_dy + col[None, :], mask=keep, other=0.0).to(ACC)
        dw += tl.sum(g * xhat, 0)
        db += tl.sum(g, 0)
        if HAS_W:
            g = g * tl.load(W + col, mask=col < N, other=0.0).to(ACC)[None, :]
        dx = (g - tl.sum(g, 1)[:, None] / N - xhat * (tl.sum(g * xhat, 1)[:, None] / N)) * rstd
        if HAS_DH:
            dx += tl.load(DH + row[:, None] * stride_dh + col[None, :], mask=keep, other=0.0).to(ACC)
        tl.store(DX + row[:, None] * N + col[None, :], dx.to(DX.dtype.element_ty), mask=keep)
    tl.store(DW + pid.to(tl.int64) * N + col, dw, mask=col < N)
    tl.store(DB + pid.to(tl.int64) * N + col, db, mask=col < N)


def _tiles(kernel: str, x, n: int):
    options = launch.configuration(kernel, launch.architecture(x.device), n)
    block = launch.power_of_2(n)
    rows = max(1, options.pop("ELEMENTS") // block)
    return {"ROWS": rows, "BLOCK": block, "ACC": tl.float64 if x.dtype == torch.float64 else tl.float32, **options}


def forward(x, weight, bias, residual, eps: float):
    """Return y, the sum (empty without a residual), the mean and one over the standard deviation."""
    n = x.shape[-1]
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    h = torch.empty(x.shape if residual is not None else (0,), dtype=x.dtype, device=x.device)
    mean, rstd = (torch.empty(x.shape[:-1], dtype=wide, device=x.device) for _ in range(2))
    if x.numel() == 0:
        return y, h, mean, rstd
    rows = launch.rows_of(x)
    added = launch.rows_of(residual) if residual is not None else rows
    options = _tiles("layer_norm_forward", x, n)
    with launch.on(x):
        forward_kernel[(triton.cdiv(rows.shape[0], options["ROWS"]),)](
            rows, added, weight, bias, y, h, mean, rstd, rows.shape[0], n, rows.stride(0), added.stride(0), eps,
            HAS_W=weight is not None, HAS_B=bias is not None, HAS_R=residual is not None, **options,
        )  # fmt: skip
    return y, h, mean, rstd


def backward(dy, dh, h, weight, bias, mean, rstd, eps: float):
    """Return dx, which is the residual's gradient too, dweight and dbias (empty where there is none)."""
    n = h.shape[-1]
    dx = torch.empty(h.shape, dtype=h.dtype, device=h.device)
    given = (weight, bias)
    if h.numel() == 0:
        return dx, *(torch.zeros_like(w) if w is not None else h.new_empty(0) for w in given)
    rows_h, rows_dy = launch.rows_of(h), launch.rows_of(dy)
    rows_dh = launch.rows_of(dh) if dh is not None else rows_dy
    m = rows_h.shape[0]
    options = _tiles("layer_norm_backward", h, n)
    programs = min(triton.cdiv(m, options["ROWS"]), launch.processors(h.device) * options.pop("waves"))
    dw, db = (torch.empty((programs, n), dtype=rstd.dtype, device=h.device) for _ in range(2))
    with launch.on(h):
        backward_kernel[(programs,)](
            rows_dy, rows_dh, rows_h, weight, mean, rstd, dx, dw, db, m, n, rows_dy.stride(0), rows_dh.stride(0),
            rows_h.stride(0), HAS_W=weight is not None, HAS_DH=dh is not None, **options,
        )  # fmt: skip
    lines = zip((dw, db), given, strict=True)
    return dx, *(part.sum(0).to(w.dtype) if w is not None else h.new_empty(0) for part, w in lines)
