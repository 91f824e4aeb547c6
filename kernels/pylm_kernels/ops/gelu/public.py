"""The public gelu. Its raw form is forward(x, tanh) -> y and backward(dy, x, tanh) -> dx."""

from __future__ import annotations

import torch

from pylm_kernels.elementwise import elementwise
from pylm_kernels.operation import refuse
from pylm_kernels.ops.gelu import reference

_public = elementwise("gelu", reference.gelu, ("x",), flag="tanh")


def gelu(x: torch.Tensor, *, approximate: str = "none", backend: str | None = None) -> torch.Tensor:
    """Return x times the normal distribution's share below x, computed in float32; approximate="tanh" is GPT-2's."""
    if approximate not in ("none", "tanh"):
        return refuse(x, f"approximate: {approximate!r} is not 'none' or 'tanh'")
    result: torch.Tensor = _public((x,), (approximate == "tanh",), backend)
    return result
