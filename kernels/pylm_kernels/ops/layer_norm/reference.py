"""The meaning of layer_norm, in plain torch."""

from __future__ import annotations

import torch


def layer_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the normalised rows and the sum that was normalised, in x's dtype."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    h = x.to(wide) if residual is None else x.to(wide) + residual.to(wide)
    y = h - h.mean(-1, keepdim=True)
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps)
    if weight is not None:
        y = y * weight.to(wide)
    if bias is not None:
        y = y + bias.to(wide)
    return y.to(x.dtype), h.to(x.dtype)
