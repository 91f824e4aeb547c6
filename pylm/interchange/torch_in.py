"""Files of torch.save: whose class has the names of the tensors says what model they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pylm.config.schema import Model as Shape
from pylm.errors import CheckpointError
from pylm.generation.load import json_of
from pylm.interchange import nanochat, nanogpt
from pylm.interchange.pickled import Unpickled, listed, unpickled
from pylm.interchange.state_dicts import bare, from_state_dict, tool_of
from pylm.model.names import Stored
from pylm.model.parameters import misfit, parameters

__all__ = ["SUFFIXES", "Held", "file_in", "read"]

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
PROGRAMS = "nanoGPT, nanochat, microgpt, nash-llm and buildingLLMFromScratch are read"


class Held(NamedTuple):
    """A model that a file holds."""

    format: str
    shape: Shape
    weights: Mapping[str, Stored]
    step: int
    vocab_size: int | None = None  # rows that are no padding, where it says so


def file_in(folder: Path) -> Path | None:
    """Return the file of torch.save that a program left in a folder: of nanochat's the newest."""
    steps = {int(match[1]): file for file in folder.iterdir() if (match := nanochat.FILE.fullmatch(file.name))}
    named = [folder / name for name in (nanogpt.FILE, "model.pt") if (folder / name).is_file()]
    return steps[max(steps)] if steps else next(iter(named), None)


def read(file: Path, made: Path) -> Held:
    """Return the model of a file.

    Args:
        file: is opened with weights_only in a process of its own.
        made: the file that its tensors are mapped from.
    """
    unpickling = unpickled(file, made)
    try:
        held = _of_class(file, unpickling)
        mine, theirs = parameters(held.shape), held.weights
        misfit(*({name: tuple(one.shape) for name, one in side.items()} for side in (mine, theirs)))
    except CheckpointError as error:
        hint = error.marked[1] or f"its tensors: {listed(unpickling.tensors)}"
        raise CheckpointError(f"{file}: {error.marked[0]}", hint) from None
    return held


def _of_class(file: Path, unpickling: Unpickled) -> Held:
    tensors, beside = bare(unpickling.tensors), unpickling.beside
    if nanochat.is_nanochat(tensors):
        meta = json_of(nanochat.meta_of(file))
        shape, weights = nanochat.from_nanochat(tensors, meta)
        return Held("nanochat", shape, weights, _count(meta.get("step")), _count(meta["model_config"]["vocab_size"]))
    tool = tool_of(tensors, arguments="model_args" in beside)
    if tool is None:
        raise CheckpointError(
            f"it has tensors by the names of no program that is known here: {listed(unpickling.tensors)}", PROGRAMS
        )
    shape, weights = from_state_dict(tool, tensors, _settings(file, beside))
    return Held(tool.name, shape, weights, _count(beside.get("iter_num", beside.get("step"))))


def _settings(file: Path, beside: Mapping[str, Any]) -> dict[str, Any]:
    """Return what programs say of their model: in the file, or in a model.json beside it."""
    config = beside.get("config")
    inner = config.get("model") if isinstance(config, Mapping) else None
    several = (json_of(file.with_name("model.json")), config, inner, beside.get("model_args"))
    return {key: value for one in several if isinstance(one, Mapping) for key, value in one.items()}


def _count(said: Any) -> int:
    return said if type(said) is int and said >= 0 else 0
