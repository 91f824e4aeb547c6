"""The meaning of gelu, in plain torch."""

from __future__ import annotations

import math

import torch


def gelu(x: torch.Tensor, tanh: bool) -> torch.Tensor:
    """Return x · Φ(x), or GPT-2's approximation of it by tanh, computed in float32 and rounded once."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    h = x.to(wide)
    if tanh:
        phi = 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    else:
        phi = 0.5 * (1 + torch.erf(h / math.sqrt(2)))
    return (h * phi).to(x.dtype)
