"""The machine under MLX: which precision, how fast its products are, and what a resume to the bit depends on."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import mlx.core as mx

from pylm.model.mlx.device import device_name, on_gpu, take_device
from pylm.training.remembered import flops_of_product, largest_flops

__all__ = ["DTYPES", "choose_device", "choose_precision", "facts", "known_matmul_flops"]

DTYPES = {"fp32": mx.float32, "bf16": mx.bfloat16, "fp16": mx.float16}


def choose_device(asked: str) -> Any:
    """Compute on the device that a name means here."""
    return take_device(asked)


def choose_precision(asked: str, device: Any) -> str:
    """Return what is computed in: bfloat16 on GPUs, which needs no scale of the loss; else float32."""
    if asked != "auto":
        return asked
    return "bf16" if device == mx.gpu else "fp32"


def facts() -> dict[str, Any]:
    """Return what a bitwise resume depends on, beside the configuration."""
    return {
        "backend": "mlx",
        "mlx": version("mlx"),
        "device": "gpu" if on_gpu() else "cpu",
        "device_name": device_name(),
        "threads": os.cpu_count() or 1,
        "kernels": {"rope_attention": "metal" if on_gpu() else "mlx"},
    }


def known_matmul_flops(device: Any, precision: str, say: Callable[[str], None]) -> float:
    """Return the FLOPs a second of plain matrix products here, as pylm.training.remembered.largest_flops knows them."""
    key = f"matmul {device_name()} {precision} mlx {version('mlx')}"
    return largest_flops(key, lambda: _matmul_flops(precision, 4096 if device == mx.gpu else 512), say)


def _matmul_flops(precision: str, size: int) -> float:
    a, b = (mx.random.normal((size, size), key=mx.random.key(seed)).astype(DTYPES[precision]) for seed in (1, 2))
    mx.eval(a, b)
    return flops_of_product(lambda: mx.eval(a @ b), 2 * size**3)
