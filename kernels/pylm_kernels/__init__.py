"""Fused operations for language models, on whatever machine this is.

Importing this package loads neither torch nor triton nor mlx: each name is found on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# exported name → module that holds it
_HOMES = {
    "register": "dispatch",
    "backends": "dispatch",
    "rms_norm": "ops.rms_norm.public",
    "RMSNorm": "ops.rms_norm.public",
    "layer_norm": "ops.layer_norm.public",
    "LayerNorm": "ops.layer_norm.public",
    "Rope": "operands.rope",
    "Documents": "operands.documents",
    "qk_norm_rope": "ops.qk_norm_rope.public",
    "rope_attention": "ops.rope_attention.public",
    "attention_decode": "ops.attention_decode.public",
    "cross_entropy": "ops.cross_entropy.public",
    "linear_cross_entropy": "ops.linear_cross_entropy.public",
    "swiglu": "ops.swiglu.public",
    "gelu": "ops.gelu.public",
    "relu2": "ops.relu2.public",
    "patch": "patching.public",
    "unpatch": "patching.public",
}
__all__ = list(_HOMES)

if TYPE_CHECKING:
    from pylm_kernels.dispatch import backends as backends
    from pylm_kernels.dispatch import register as register
    from pylm_kernels.operands.documents import Documents as Documents
    from pylm_kernels.operands.rope import Rope as Rope
    from pylm_kernels.ops.attention_decode.public import attention_decode as attention_decode
    from pylm_kernels.ops.cross_entropy.public import cross_entropy as cross_entropy
    from pylm_kernels.ops.gelu.public import gelu as gelu
    from pylm_kernels.ops.layer_norm.public import LayerNorm as LayerNorm
    from pylm_kernels.ops.layer_norm.public import layer_norm as layer_norm
    from pylm_kernels.ops.linear_cross_entropy.public import linear_cross_entropy as linear_cross_entropy
    from pylm_kernels.ops.qk_norm_rope.public import qk_norm_rope as qk_norm_rope
    from pylm_kernels.ops.relu2.public import relu2 as relu2
    from pylm_kernels.ops.rms_norm.public import RMSNorm as RMSNorm
    from pylm_kernels.ops.rms_norm.public import rms_norm as rms_norm
    from pylm_kernels.ops.rope_attention.public import rope_attention as rope_attention
    from pylm_kernels.ops.swiglu.public import swiglu as swiglu
    from pylm_kernels.patching.public import patch as patch
    from pylm_kernels.patching.public import unpatch as unpatch


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pylm_kernels' has no attribute {name!r}")
    try:
        found = getattr(importlib.import_module(f"pylm_kernels.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f"pylm_kernels.{name} needs PyTorch, which is not installed: pip install torch") from None
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
