"""The public swiglu. Its raw form is forward(gate, up) -> y and backward(dy, gate, up) -> (dgate, dup)."""

from __future__ import annotations

import torch

from pylm_kernels.elementwise import elementwise
from pylm_kernels.ops.swiglu import reference

_public = elementwise("swiglu", reference.swiglu, ("gate", "up"))


def swiglu(gate: torch.Tensor, up: torch.Tensor, *, backend: str | None = None) -> torch.Tensor:
    """Return silu(gate) * up, computed in float32 and rounded once; both have one shape and dtype."""
    result: torch.Tensor = _public((gate, up), (), backend)
    return result
