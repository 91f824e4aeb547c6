"""The meaning of rms_norm, in plain torch."""

from __future__ import annotations

import torch


def rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    eps: float = 1e-5,
    offset: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the normalised rows and the sum that was normalised, in x's dtype."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    h = x.to(wide) if residual is None else x.to(wide) + residual.to(wide)
    y = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps)
    if weight is not None:
        y = y * (weight.to(wide) + offset)
    return y.to(x.dtype), h.to(x.dtype)
