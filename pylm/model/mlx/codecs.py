"""Tensors between MLX and a file: by name, dtype, shape and buffer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import numpy as np

from pylm.errors import CheckpointError
from pylm.model.names import Stored

__all__ = ["from_stored", "from_tensor", "to_numpy"]

# safetensors' words; numpy has no bfloat16, whose bits are read as integers
READ = {"F32": ("<f4", None), "F16": ("<f2", None), "BF16": ("<u2", mx.bfloat16), "I64": ("<i8", None)}


def from_tensor(name: str, stored: Stored) -> Any:
    """Return an array of its own memory: a file's is mapped, and goes with the file."""
    data = memoryview(stored.data)
    if stored.dtype == "F64":  # which GPUs lack
        return mx.array(np.frombuffer(data, "<f8").astype(np.float32)).reshape(stored.shape)
    if stored.dtype not in READ:
        raise CheckpointError(f"{name} is of type {stored.dtype}, and here {', '.join(READ)} are read")
    kind, view = READ[stored.dtype]
    array = mx.array(np.frombuffer(data, kind))
    return (array if view is None else array.view(view)).reshape(stored.shape)


def from_stored(tensors: Mapping[str, Stored]) -> dict[str, Any]:
    """Return an array for each stored tensor."""
    return {name: from_tensor(name, stored) for name, stored in tensors.items()}


def to_numpy(array: Any) -> np.ndarray[Any, Any]:
    """Return a copy in the memory of the host, which later steps leave alone."""
    return np.array(array)
