"""rms_norm and layer_norm, the residual fused."""

from __future__ import annotations

import torch

from pylm import _native
from pylm.native_kernels.arguments import threads, whole, wide


def rms_norm_forward(
    x: torch.Tensor, weight: torch.Tensor | None, residual: torch.Tensor | None, eps: float, offset: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return y, x + residual (empty without one) and the reciprocal root mean squares."""
    y, h, _, rstd = _forward(x, weight, None, residual, eps, offset, centred=False)
    return y, h, rstd


def rms_norm_backward(
    dy: torch.Tensor,
    dh: torch.Tensor | None,
    h: torch.Tensor,
    weight: torch.Tensor | None,
    rstd: torch.Tensor,
    eps: float,
    offset: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of x (and of the residual) and of the weight."""
    return _backward(dy, dh, h, weight, None, None, rstd, offset)[:2]


def layer_norm_forward(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return y, x + residual (empty without one), the means and the reciprocal deviations."""
    return _forward(x, weight, bias, residual, eps, 0.0, centred=True)


def layer_norm_backward(
    dy: torch.Tensor,
    dh: torch.Tensor | None,
    h: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of x (and of the residual), of the weight and of the bias; empty where there is none."""
    return _backward(dy, dh, h, weight, bias, mean, rstd, 0.0)


def _forward(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    eps: float,
    offset: float,
    centred: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    x, residual = x.contiguous(), whole(residual)
    y = torch.empty_like(x)
    h = x.new_empty(0) if residual is None else torch.empty_like(x)
    rstd = x.new_empty(x.shape[:-1], dtype=torch.float32)
    mean = torch.empty_like(rstd) if centred else rstd
    if x.numel():
        _native.norm_forward(
            x,
            residual,
            wide(weight),
            wide(bias),
            y,
            None if residual is None else h,
            mean if centred else None,
            rstd,
            eps,
            offset,
            threads(),
        )
    return y, h, mean, rstd


def _backward(
    dy: torch.Tensor,
    dh: torch.Tensor | None,
    h: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor | None,
    rstd: torch.Tensor,
    offset: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    dy, dh, h = dy.contiguous(), whole(dh), h.contiguous()
    dx = torch.empty_like(h)
    dweight = None if weight is None else h.new_zeros(h.shape[-1], dtype=torch.float32)
    dbias = None if bias is None else h.new_zeros(h.shape[-1], dtype=torch.float32)
    if h.numel():
        _native.norm_backward(
            dy, dh, h, wide(weight), whole(mean), rstd.contiguous(), dx, dweight, dbias, offset, threads()
        )
    return dx, _narrow(dweight, weight, h), _narrow(dbias, bias, h)


def _narrow(gradient: torch.Tensor | None, of: torch.Tensor | None, h: torch.Tensor) -> torch.Tensor:
    return h.new_empty(0) if gradient is None or of is None else gradient.to(of.dtype)
