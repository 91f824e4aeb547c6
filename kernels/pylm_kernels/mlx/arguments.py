"""Checks of MLX arrays that raise a sentence: the public functions refuse with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx

FLOATS = (mx.float32, mx.bfloat16, mx.float16)  # MLX has float64 on CPUs only


def array(name: str, x: Any) -> None:
    """Raise ValueError unless x is an MLX array."""
    if not isinstance(x, mx.array):
        raise ValueError(f"{name}: is a {type(x).__module__}.{type(x).__name__}, not an mlx.core.array")


def floating(name: str, x: Any) -> None:
    """Raise ValueError unless x is an MLX array of a floating dtype that every device has."""
    array(name, x)
    if x.dtype not in FLOATS:
        raise ValueError(f"{name}: dtype {x.dtype} is not float32, bfloat16 or float16; cast it first")


def like(name: str, x: Any, other_name: str, other: Any) -> None:
    """Raise ValueError unless x is an MLX array of the other's shape and dtype."""
    array(name, x)
    if x.shape != other.shape:
        raise ValueError(f"{name}: shape {x.shape} differs from {other_name}'s {other.shape}")
    if x.dtype != other.dtype:
        raise ValueError(f"{name}: dtype {x.dtype} differs from {other_name}'s {other.dtype}; cast one of them")


def rows_to_normalise(x: Any, vectors: Mapping[str, Any], residual: Any) -> Any:
    """Return the rows that are to be normalised, with the residual added, once everything is known to fit."""
    floating("x", x)
    if x.ndim == 0:
        raise ValueError("x: a scalar has no rows to normalise")
    if x.shape[-1] == 0:
        raise ValueError("x: its last dimension is empty, so there is nothing to normalise")
    for name, vector in vectors.items():
        if vector is not None:
            floating(name, vector)
            if vector.shape != (x.shape[-1],):
                width = x.shape[-1]
                raise ValueError(f"{name}: shape {vector.shape} does not fit x's last dimension; it must be ({width},)")
    if residual is None:
        return x
    like("residual", residual, "x", x)
    return x + residual
