"""relu2 for MLX arrays: plain operations, compiled into one kernel."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from pylm_kernels.mlx.arguments import floating


def _relu2(x: Any) -> Any:
    return mx.square(mx.maximum(x.astype(mx.float32), 0.0)).astype(x.dtype)


_fused: Any = mx.compile(_relu2, shapeless=True)


def relu2(x: Any) -> Any:
    """Return relu(x)², computed in float32 and rounded once."""
    floating("x", x)
    return _fused(x)
