"""Which framework computes here, found without importing any."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import sys

from pylm.errors import UsageError
from pylm.wording import param

__all__ = ["need_mlx", "prefers_mlx"]


def prefers_mlx(device: str) -> bool:
    """Say whether `backend: auto` means MLX: on a Mac that has it, unless a device beside its GPU was asked for."""
    mac = sys.platform == "darwin" and platform.machine() == "arm64"
    return mac and device in ("auto", "mps") and importlib.util.find_spec("mlx") is not None


def need_mlx(device: str) -> None:
    """Raise, in one sentence and with what to do, where MLX cannot be imported or has no such device."""
    if device.partition(":")[0] == "cuda":
        raise UsageError(
            f"{param('backend', 'mlx')} computes on Apple GPUs and CPUs, not on {device}",
            f"{param('backend', 'torch')}, or {param('device', 'auto')}",
        )
    try:
        importlib.import_module("mlx.core")
        importlib.import_module("pylm_kernels.mlx")
    except ImportError as error:
        install = "pip install ./kernels '.[mlx]'"
        raise UsageError(
            f"{param('backend', 'mlx')} needs MLX, which cannot be imported here: {error}",
            f"{install}, or {param('backend', 'torch')}",
        ) from None
