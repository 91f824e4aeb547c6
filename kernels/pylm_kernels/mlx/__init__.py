"""The operations for MLX projects: names and meanings of the torch ones, gradients by MLX's own transformations.

    from pylm_kernels.mlx import rms_norm, swiglu

On an Apple GPU rms_norm, qk_norm_rope and rope_attention run Metal kernels of ours, gradients included (mlx.py and
metal.py in their folders under ops), rms_norm's forward where mx.fast has no launch that does it all; layer_norm is
mx.fast's, the activations are compiled into one kernel each, and cross_entropy is composed of MLX's operations. Without
Metal, as on Linux, everything is plain MLX operations: right, and as fast as these are. PYLM_KERNELS=metal|reference
forces one. The arithmetic is in float32, and what is returned has the dtype of the input. Importing this loads no
torch; each name is found on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

try:
    importlib.import_module("mlx.core")
except ImportError as _error:
    raise ImportError(
        f"pylm_kernels.mlx needs MLX, which cannot be imported here ({_error}): pip install mlx, on Linux 'mlx[cpu]'"
    ) from None

# exported name → module that holds it
_HOMES = {
    "Documents": "mlx.heads",
    "Rope": "mlx.rope",
    "attention_decode": "ops.attention_decode.mlx",
    "qk_norm_rope": "ops.qk_norm_rope.mlx",
    "rope_attention": "ops.rope_attention.mlx",
    "rms_norm": "ops.rms_norm.mlx",
    "layer_norm": "ops.layer_norm.mlx",
    "swiglu": "ops.swiglu.mlx",
    "gelu": "ops.gelu.mlx",
    "relu2": "ops.relu2.mlx",
    "cross_entropy": "ops.cross_entropy.mlx",
}
__all__ = list(_HOMES)

if TYPE_CHECKING:
    from pylm_kernels.mlx.heads import Documents as Documents
    from pylm_kernels.mlx.rope import Rope as Rope
    from pylm_kernels.ops.attention_decode.mlx import attention_decode as attention_decode
    from pylm_kernels.ops.cross_entropy.mlx import cross_entropy as cross_entropy
    from pylm_kernels.ops.gelu.mlx import gelu as gelu
    from pylm_kernels.ops.layer_norm.mlx import layer_norm as layer_norm
    from pylm_kernels.ops.qk_norm_rope.mlx import qk_norm_rope as qk_norm_rope
    from pylm_kernels.ops.relu2.mlx import relu2 as relu2
    from pylm_kernels.ops.rms_norm.mlx import rms_norm as rms_norm
    from pylm_kernels.ops.rope_attention.mlx import rope_attention as rope_attention
    from pylm_kernels.ops.swiglu.mlx import swiglu as swiglu


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pylm_kernels.mlx' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"pylm_kernels.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
