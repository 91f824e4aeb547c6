"""Files as torch.save writes them, opened in a process of their own: their tensors and plain values."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pylm.checkpoint import Tensor, read_tensors
from pylm.errors import CheckpointError

__all__ = ["Unpickled", "listed", "unpickled"]

LISTED = 6  # tensors that a refusal names


class Unpickled(NamedTuple):
    """What a file holds."""

    tensors: Mapping[str, Tensor]
    beside: Mapping[str, Any]


def unpickled(file: Path, made: Path) -> Unpickled:
    """Return the tensors and plain values of a file of torch.save.

    Args:
        file: is opened with weights_only in a child process.
        made: the safetensors file that the child makes of it, which the tensors are mapped from.
    """
    words = [sys.executable, "-m", "pylm.interchange.pickle_child", str(file), str(made)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        said = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        why = done.stderr.strip().splitlines()[-1:] or [f"its process ended with {done.returncode}"]
        raise CheckpointError(f"{file} cannot be opened: {why[0]}", "it is read as torch.save writes it") from None
    if name := said.get("global"):
        raise CheckpointError(
            f"{file} asks for {name}, and nothing but tensors and plain values is taken out of a pickle",
            "save the model's state_dict alone: torch.save({'model': model.state_dict(), 'model_args': {…}}, FILE)",
        )
    if why := said.get("error"):
        raise CheckpointError(f"{file} is no file of torch.save: {why}", "fetch or save it again")
    tensors = read_tensors(made)
    if not tensors:
        raise CheckpointError(f"{file} holds no weights: it has {_names(said['beside']) or 'nothing'}")
    return Unpickled(tensors, said["beside"])


def listed(tensors: Mapping[str, Any]) -> str:
    """Return the first names and sizes of tensors, for a refusal."""
    shown = [f"{name} {list(tensor.shape)}" for name, tensor in list(tensors.items())[:LISTED]]
    return ", ".join(shown) + (f" and {len(tensors) - LISTED} more" if len(tensors) > LISTED else "")


def _names(beside: Mapping[str, Any]) -> str:
    return ", ".join(list(beside)[:LISTED])
