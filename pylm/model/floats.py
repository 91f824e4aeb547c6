"""Floats as safetensors keeps them, for numpy, which knows no bf16: it is the upper half of an fp32."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FLOATS", "from_bf16", "to_bf16"]

FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # numpy's words for what a file holds


def from_bf16(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Return bf16, given as its bits, in fp32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_bf16(numbers: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Return the bits of finite fp32 in bf16: the nearest, and of two the even one."""
    bits = numbers.view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")
