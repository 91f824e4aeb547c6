"""Files as torch.save writes them, of plain tensors and numbers: read back with weights_only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pylm.durable import naming
from pylm.interchange.tensors import Cast
from pylm.model.names import Tensor
from pylm.model.torch_codecs import from_stored

__all__ = ["save"]


def save(path: Path, tensors: Mapping[str, Cast], beside: Mapping[str, Any], twice: Mapping[str, str]) -> None:
    """Write a state_dict under `model`, with what stands beside it, and flush it to the disk.

    Args:
        path: the file.
        tensors: by their names in it.
        beside: plain values under their own names.
        twice: names of tensors that are others', by the others' names: they share their memory.
    """
    model: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        data = b"".join(bytes(part) for part in tensor.parts())
        model |= from_stored({name: Tensor(tensor.dtype, tensor.shape, data)})
    model |= {name: model[other] for name, other in twice.items()}
    with naming(path), path.open("wb") as file:
        torch.save({"model": model, **beside}, file)
        file.flush()
        os.fsync(file.fileno())
