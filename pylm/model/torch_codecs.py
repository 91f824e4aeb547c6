"""Tensors between torch and a file: by name, dtype, shape and buffer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from pylm.errors import CheckpointError
from pylm.model.names import Stored

__all__ = ["Copied", "from_stored", "to_buffer"]

# safetensors' words
WORDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
DTYPES = {word: dtype for dtype, word in WORDS.items()}


def from_stored(tensors: Mapping[str, Stored]) -> dict[str, torch.Tensor]:
    """Return copies of stored tensors in memory of their own: a file's is mapped, and cannot be written to."""
    copies = {}
    for name, stored in tensors.items():
        if stored.dtype not in DTYPES:
            raise CheckpointError(f"tensor {name} is of type {stored.dtype}, which torch does not have")
        dtype, data = DTYPES[stored.dtype], bytearray(stored.data)
        flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        copies[name] = flat.view(stored.shape)
    return copies


class Copied(Mapping[str, torch.Tensor]):
    """Stored tensors, each copied when it is asked for: one at a time is held where each is used once."""

    def __init__(self, tensors: Mapping[str, Stored]) -> None:
        """Keep what is stored."""
        self.stored = tensors

    def __getitem__(self, name: str) -> torch.Tensor:
        """Return a copy of one."""
        return from_stored({name: self.stored[name]})[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self.stored)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.stored)


def to_buffer(tensor: torch.Tensor) -> tuple[str, tuple[int, ...], Any]:
    """Return dtype, shape and bytes of a copy in the host's memory, which later steps leave alone."""
    copy = tensor.detach().to("cpu", copy=True).contiguous()
    return WORDS[copy.dtype], tuple(copy.shape), copy.reshape(-1).view(torch.uint8).numpy()
