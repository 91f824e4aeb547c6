"""gelu for MLX arrays: plain operations, compiled into one kernel."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx

from pylm_kernels.mlx.arguments import floating


def _gelu(x: Any) -> Any:
    h = x.astype(mx.float32)
    return (0.5 * h * (1 + mx.erf(h / math.sqrt(2)))).astype(x.dtype)


def _gelu_tanh(x: Any) -> Any:
    h = x.astype(mx.float32)
    return (0.5 * h * (1 + mx.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h * h * h)))).astype(x.dtype)


_fused: dict[str, Any] = {
    "none": mx.compile(_gelu, shapeless=True),
    "tanh": mx.compile(_gelu_tanh, shapeless=True),
}


def gelu(x: Any, *, approximate: str = "none") -> Any:
    """Return x times the normal distribution's share below x, computed in float32; approximate="tanh" is GPT-2's."""
    floating("x", x)
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate: {approximate!r} is not 'none' or 'tanh'")
    return _fused[approximate](x)
