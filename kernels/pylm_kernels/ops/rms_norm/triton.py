"""rms_norm on GPUs: one launch forward; backward one launch over rows and one small sum."""
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


@triton.jit
def forward_kernel(
    X, R, W, Y, H, RSTD, M, N, stride_x, stride_r, eps, offset,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr, HAS_W: tl.constexpr, HAS_R: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Normalise ROWS rows. A row of up to BLOCK stays in registers; a WIDE one is read twice, then from L2."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    col = tl.arange(0, BLOCK)
    there = (row < M)[:, None]
    square = tl.zeros([ROWS, BLOCK], ACC)
    h = tl.zeros([ROWS, BLOCK], ACC)
    for start in range(0, N, BLOCK):
        keep = there & (start + col < N)[None, :]
        h = tl.load(X + row[:, None] * stride_x + (start + col)[None, :], mask=keep, other=0.0).to(ACC)
        if HAS_R:
            h += tl.load(R + row[:, None] * stride_r + (start + col)[None, :], mask=keep, other=0.0).to(ACC)
            h = h.to(H.dtype.element_ty)  # what is normalised is what is returned, rounding included
            tl.store(H + row[:, None] * N + (start + col)[None, :], h, mask=keep)
            h = h.to(ACC)
        square += h * h
    rstd = 1 / tl.sqrt(tl.sum(square, 1) / N + eps)
    tl.store(RSTD + row, rstd, mask=row < M)
    for start in range(0, N, BLOCK):
        keep = there & (start + col < N)[None, :]
        if WIDE:
            if HAS_R:
                tl.debug_barrier()  # other threads of this program wrote what is read here
                h = tl.load(H + row[:, None] * N + (start + col)[None, :], mask=keep, other=0.0).to(ACC)
            else:
                h = tl.load(X + row[:, None] * stride_x + (start + col)[None, :], mask=keep, other=0.0).to(ACC)
        y = h * rstd[:, None]
        if HAS_W:
            w = tl.load(W + start + col, mask=start + col < N, other=0.0).to(ACC) + offset
            y = y * w[None, :]
        tl.store(Y + row[:, None] * N + (start + col)[None, :], y.to(Y.dtype.element_ty), mask=keep)


@triton.jit
def backward_kernel(
    DY, DH, H, W, RSTD, DX, DW, M, N, stride_dy, stride_dh, stride_h, offset,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr, HAS_W: tl.constexpr, HAS_DH: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Compute dX of rows pid, pid + programs, …, and this program's share of dW.

    dW of these rows gathers in registers and ends in this program's own line.

    Each line is written by one program in a fixed order, and the lines are summed in a fixed order: no atomics, the
    same bits every time. In a WIDE row the registers do not hold dW, so the line itself (in L2) does.
    """
    pid = tl.program_id(0)
    step = tl.num_programs(0) * ROWS
    col = tl.arange(0, BLOCK)
    w = tl.full([BLOCK], 1.0, ACC)
    dw = tl.zeros([BLOCK], ACC)
    if HAS_W and not WIDE:
        w = tl.load(W + col, mask=col < N, other=0.0).to(ACC) + offset
    for first in range(pid * ROWS, M, step):
        row = first + tl.arange(0, ROWS).to(tl.int64)
        there = (row < M)[:, None]
        rstd = tl.load(RSTD + row, mask=row < M, other=0.0)[:, None]
        dot = tl.zeros([ROWS, BLOCK], ACC)
        xhat = tl.zeros([ROWS, BLOCK], ACC)
        g = tl.zeros([ROWS, BLOCK], ACC)
        for start in range(0, N, BLOCK):
            at = start + col
            keep = there & (at < N)[None, :]
            xhat = tl.load(H + row[:, None] * stride_h + at[None, :], mask=keep, other=0.0).to(ACC) * rstd
            dy = tl.load(DY + row[:, None] * stride_dy + at[None, :], mask=keep, other=0.0).to(ACC)
            g = dy
            if HAS_W:
                if WIDE:
                    w = tl.load(W + at, mask=at < N, other=0.0).to(ACC) + offset
                    line = DW + pid.to(tl.int64) * N + at
                    so_far = tl.load(line, mask=at < N, other=0.0)
                    tl.store(line, so_far + tl.sum(dy * xhat, 0), mask=at < N)
                else:
                    dw += tl.sum(dy * xhat, 0)
                g = dy * w[None, :]
            dot += g * xhat
        mean = tl.sum(dot, 1)[:, None] / N
        for start in range(0, N, BLOCK):
            at = start + col
            keep = there & (at < N)[None, :]
            if WIDE:
                xhat = tl.load(H + row[:, None] * stride_h + at[None, :], mask=keep, other=0.0).to(ACC) * rstd
                g = tl.load(DY + row[:, None] * stride_dy + at[None, :], mask=keep, other=0.0).to(ACC)
                if HAS_W:
                    g = g * (tl.load(W + at, mask=at < N, other=0.0).to(ACC) + offset)[None, :]
            dx = (g - xhat * mean) * rstd
            if HAS_DH:
                dx += tl.load(DH + row[:, None] * stride_dh + at[None, :], mask=keep, other=0.0).to(ACC)
            tl.store(DX + row[:, None] * N + at[None, :], dx.to(DX.dtype.element_ty), mask=keep)
    if HAS_W and not WIDE:
        tl.store(DW + pid.to(tl.int64) * N + col, dw, mask=col < N)


def forward(
    x: torch.Tensor, weight: torch.Tensor | None, residual: torch.Tensor | None, eps: float, offset: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return y, the sum that was normalised, and one over the root mean square.

    The sum is empty without a residual, where it is x.
    """
    n = x.shape[-1]
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    h = torch.empty(x.shape if residual is not None else (0,), dtype=x.dtype, device=x.device)
    rstd = torch.empty(x.shape[:-1], dtype=wide, device=x.device)
    if x.numel() == 0:
        return y, h, rstd
    rows = launch.rows_of(x)
    added = launch.rows_of(residual) if residual is not None else rows
    m = rows.shape[0]
    block, per_program, options = _tiles("rms_norm_forward", x.device, n)
    with launch.on(x):
        forward_kernel[(triton.cdiv(m, per_program),)](
            rows, added, weight, y, h, rstd, m, n, rows.stride(0), added.stride(0), eps, offset,
            ROWS=per_program, BLOCK=block, WIDE=n > block, HAS_W=weight is not None, HAS_R=residual is not None,
            ACC=tl.float64 if wide == torch.float64 else tl.float32, **options,
        )  # fmt: skip
    return y, h, rstd


def backward(
    dy: torch.Tensor,
    dh: torch.Tensor | None,
    h: torch.Tensor,
    weight: torch.Tensor | None,
    rstd: torch.Tensor,
    eps: float,
    offset: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return dx, which is the residual's gradient too, and dweight (empty without a weight)."""
    n = h.shape[-1]
    dx = torch.empty(h.shape, dtype=h.dtype, device=h.device)
    if h.numel() == 0:
        return dx, torch.zeros_like(weight) if weight is not None else h.new_empty(0)
    rows_h, rows_dy = launch.rows_of(h), launch.rows_of(dy)
    rows_dh = launch.rows_of(dh) if dh is not None else rows_dy
    m = rows_h.shape[0]
    block, per_program, options = _tiles("rms_norm_backward", h.device, n)
    programs = min(triton.cdiv(m, per_program), launch.processors(h.device) * options.pop("waves"))
    lines = torch.zeros if n > block else torch.empty
    parts = lines((programs, n) if weight is not None else (0,), dtype=rstd.dtype, device=h.device)
    with launch.on(h):
        backward_kernel[(programs,)](
            rows_dy, rows_dh, rows_h, weight, rstd, dx, parts, m, n,
            rows_dy.stride(0), rows_dh.stride(0), rows_h.stride(0), offset,
            ROWS=per_program, BLOCK=block, WIDE=n > block, HAS_W=weight is not None, HAS_DH=dh is not None,
            ACC=tl.float64 if rstd.dtype == torch.float64 else tl.float32, **options,
        )  # fmt: skip
    return dx, parts.sum(0).to(weight.dtype) if weight is not None else h.new_empty(0)


def _tiles(kernel: str, device: torch.device, n: int) -> tuple[int, int, dict[str, int]]:
    """Return the columns and rows of a tile, and the launch's options.

    Short rows share a program: one row of 128 starves it.
    """
    options = launch.configuration(kernel, launch.architecture(device), n)
    block = min(launch.power_of_2(n), options.pop("BLOCK"))
    return block, max(1, options.pop("ELEMENTS") // block), options
