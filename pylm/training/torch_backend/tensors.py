"""Tensors between torch and a checkpoint: by name, dtype, shape and buffer."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pylm.errors import CheckpointError
from pylm.training.backend import Tensor

__all__ = ["from_file", "to_file"]

NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
TYPES = {name: dtype for dtype, name in NAMES.items()}


def to_file(tensors: Mapping[str, torch.Tensor]) -> dict[str, Tensor]:
    """Copies in the memory of the host, which later steps leave alone."""
    found = {}
    for name, tensor in tensors.items():
        copy = tensor.detach().to("cpu", copy=True).contiguous()
        found[name] = Tensor.of(NAMES[copy.dtype], tuple(copy.shape), copy.reshape(-1).view(torch.uint8).numpy())
    return found


def from_file(tensors: Mapping[str, Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of their own memory: a checkpoint's is mapped from its file, and cannot be written to."""
    found = {}
    for name, tensor in tensors.items():
        if tensor.dtype not in TYPES:
            raise CheckpointError(f"tensor {name} is of type {tensor.dtype}, which torch does not have")
        flat = torch.frombuffer(bytearray(tensor.data), dtype=TYPES[tensor.dtype]) if len(tensor.data) else None
        empty = torch.empty(0, dtype=TYPES[tensor.dtype])
        found[name] = (empty if flat is None else flat).view(tensor.shape)
    return found
