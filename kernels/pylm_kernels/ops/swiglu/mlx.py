"""swiglu for MLX arrays: plain operations, compiled into one kernel."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from pylm_kernels.mlx.arguments import floating, like


def _swiglu(gate: Any, up: Any) -> Any:
    g = gate.astype(mx.float32)
    return (g * mx.sigmoid(g) * up.astype(mx.float32)).astype(gate.dtype)


_fused: Any = mx.compile(_swiglu, shapeless=True)


def swiglu(gate: Any, up: Any) -> Any:
    """Return silu(gate) * up, computed in float32 and rounded once; both have one shape and dtype."""
    floating("gate", gate)
    like("up", up, "gate", gate)
    return _fused(gate, up)
