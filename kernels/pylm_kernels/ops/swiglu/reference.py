"""The meaning of swiglu, in plain torch."""

from __future__ import annotations

import torch


def swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return gate · sigmoid(gate) · up, computed in float32 and rounded once."""
    wide = torch.float64 if gate.dtype == torch.float64 else torch.float32
    g = gate.to(wide)
    return (g * torch.sigmoid(g) * up.to(wide)).to(gate.dtype)
