"""Where MLX computes, how much memory it may hold there, and what that is called."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from pylm.errors import UsageError
from pylm.host import processor_name
from pylm.wording import param

__all__ = ["device_name", "limit_memory", "on_gpu", "take_device", "working_set"]

# Of what the system recommends that a process holds on the GPU: the rest is for the screen and other programs
MEMORY_SHARE = 0.9
# Freed buffers that are kept for the next step; a training step asks for the same sizes again and again, and more
# would only grow beside it
CACHE_SHARE = 0.25


def take_device(asked: str) -> Any:
    """Compute on a device from now on: the GPU where there is one, unless the CPU was asked for."""
    gpu = mx.metal.is_available()
    if asked == "mps" and not gpu:
        raise UsageError(
            f"{param('device', 'mps')}: there is no Metal here",
            f"{param('device', 'cpu')}: MLX on a CPU is for correctness only",
        )
    device = mx.gpu if gpu and asked != "cpu" else mx.cpu
    mx.set_default_device(device)
    if device == mx.gpu:
        limit_memory()
    return device


def on_gpu() -> bool:
    """Say whether it is the GPU that computes now."""
    return bool(mx.default_device() == mx.Device(mx.gpu))


def working_set() -> int:
    """Return the bytes that this process may well hold on the GPU; 0 where there is none."""
    return int(mx.device_info().get("max_recommended_working_set_size", 0)) if on_gpu() else 0


def limit_memory() -> None:
    """Stay below what the system recommends: past it a Mac swaps, and MLX alone would go on to half as much again.

    Nothing is wired: that would take memory from every other program, whether this one uses it or not.
    """
    if size := working_set():
        mx.set_memory_limit(int(MEMORY_SHARE * size))
        mx.set_cache_limit(int(CACHE_SHARE * size))


def device_name() -> str:
    """Return what the device is called."""
    if on_gpu():
        return str(mx.device_info().get("device_name", "Apple GPU"))
    return processor_name()
