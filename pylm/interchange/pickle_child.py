"""A process that opens one file of torch.save with weights_only: what is in it harms nobody but this process.

`python -m pylm.interchange.pickle_child FILE OUT` writes the tensors of the model to OUT as safetensors, and prints
one JSON object: `beside` (plain values of the file), `sizes` of all tensors by name, or what was wrong as `error`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from pylm.checkpoint import Tensor, write_tensors
from pylm.model.torch_codecs import WORDS, to_buffer

UNDER = ("model", "state_dict", "model_state_dict", "model_state", "module")  # where training programs put the weights
FOREIGN = re.compile(r"(?:GLOBAL |global )([\w.]+)")


def main(file: str, out: str) -> dict[str, Any]:
    """Return what is printed."""
    try:
        value = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a pickle can fail in any way
        found = FOREIGN.search(str(error))
        return {"global": found[1]} if found else {"error": _why(str(error))}
    tensors = dict(_model(value))
    sizes = {name: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for name, tensor in tensors.items()}
    kept = {name: Tensor.of(*to_buffer(tensor)) for name, tensor in tensors.items() if tensor.dtype in WORDS}
    write_tensors(Path(out), kept)
    return {"sizes": sizes, "beside": _plain(value)}


def _why(said: str) -> str:
    """Return the line of torch's refusal that says what is wrong: before it stands advice to load it unsafely."""
    lines = [line for line in said.rpartition("WeightsUnpickler error:")[2].splitlines() if line.strip()]
    return lines[0].strip()[:200] if lines else "nothing is said"


def _model(value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of the model: those under a well-known name, else those on top."""
    if not isinstance(value, Mapping):
        return
    inside = next((value[name] for name in UNDER if isinstance(value.get(name), Mapping)), value)
    yield from ((str(name), tensor) for name, tensor in inside.items() if isinstance(tensor, torch.Tensor))


def _plain(value: Any) -> dict[str, Any]:
    """Return what JSON can say of the values beside the tensors, and of those in them."""
    if not isinstance(value, Mapping):
        return {}
    plain: dict[str, Any] = {}
    for name, each in value.items():
        if isinstance(each, Mapping):
            plain[str(name)] = _plain(each)
        elif isinstance(each, str | int | float | bool):
            plain[str(name)] = each
    return plain


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
