"""A folder of weights, whoever wrote it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pylm.checkpoint.state import is_file_name
from pylm.checkpoint.tensors import Tensor, read_tensors
from pylm.errors import CheckpointError

__all__ = ["Weights", "holds_weights", "open_weights"]

ONE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Weights:
    """A checkpoint of ours or a folder in a layout of Hugging Face's, for `pylm.model.names.read`."""

    path: Path

    @property
    def first_file(self) -> Path:
        """The file that is opened first: it holds the weights, or names the files that do."""
        return self.path / (ONE if (self.path / ONE).exists() else INDEX)

    def weights(self) -> dict[str, Tensor]:
        """The tensors, mapped from one file or from those that an index names."""
        if self.first_file.name == ONE:
            return read_tensors(self.path / ONE)
        found: dict[str, Tensor] = {}
        for name in self._parts():
            found |= read_tensors(self.path / name)
        return found

    def _parts(self) -> list[str]:
        try:
            index = json.loads((self.path / INDEX).read_text(encoding="utf-8"))
            names = sorted({str(name) for name in index["weight_map"].values()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{self.path / INDEX} does not say where the weights are: {error}") from error
        if strange := [name for name in names if not is_file_name(name)]:
            raise CheckpointError(f"{self.path / INDEX} names {ascii(strange[0])[:60]}, which is not beside it")
        return names


def holds_weights(path: Path) -> bool:
    """Whether a folder holds weights, in one file or in several."""
    return (path / ONE).exists() or (path / INDEX).exists()


def open_weights(path: Path) -> Weights:
    """Open a folder that holds weights; an error where it does not."""
    if not holds_weights(path):
        raise CheckpointError(f"{path} holds no {ONE}")
    return Weights(path)
