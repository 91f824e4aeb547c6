"""A soup on the disk: a checkpoint as its parents are, written aside, named whole, with what it was made of in it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.checkpoint import Checkpoint, read, write, write_tensors
from pylm.checkpoint.directory import STATE, written_whole
from pylm.config.cascade import dump
from pylm.config.schema import Config
from pylm.durable import naming, write_text
from pylm.soups import adapters
from pylm.soups.arithmetic import Summed

if TYPE_CHECKING:
    from pylm.checkpoint.tensors import Streamed
    from pylm.soups.arithmetic import Coefficients
    from pylm.soups.parents import Parent

__all__ = ["agreed", "write_soup"]

SECTIONS = ("model", "data", "sample")  # of a configuration: a soup was not trained
# What lies beside the weights in others' folders, and the index of their parts, which are one file in a soup
COPIED, INDEX = (".json", ".txt", ".jinja", ".model", ".bpe", ".tiktoken"), ".index.json"


def write_soup(
    out: Path, parents: Sequence[Parent], coefficients: Coefficients, made: Callable[[], Mapping[str, Any]],
    progress: Callable[[int], object] = lambda done: None, check: Callable[[], object] = lambda: None,
) -> Checkpoint:  # fmt: skip
    """Write the sum of the parents' tensors as a checkpoint, and return it.

    Args:
        out: the folder to make.
        parents: in the order of the sum; tensors stand in the file as in the first's.
        coefficients: of each tensor.
        made: returns the method, the parents and their shares, for the state.
        progress: called with the bytes that are written.
        check: waits until every byte of the parents was read; called before the folder has its name; where it raises,
            there is none.
    """
    state: dict[str, Any] = {"version": 1, "step": max(parent.step for parent in parents)}
    tensors: Mapping[str, Streamed]
    if parents[0].is_adapter:
        state["adapter"] = adapters.state_of(parents)
        tensors = adapters.tensors_of(parents, coefficients, progress)
    else:
        tensors = {name: Summed(name, parents, coefficients, progress) for name in parents[0].weights}
    state["tokenizer"] = parents[0].tokenizer
    first = parents[0].checkpoint
    if first is None:
        return _in_their_layout(out, parents[0].folder, tensors, state, made, check)
    state["soup"] = made()
    bound = {parent.checkpoint.state.get("data") for parent in parents if parent.checkpoint is not None}
    if len(bound) == 1 and (data := bound.pop()) is not None:
        state["data"] = data
    config = dump(*agreed(parents))
    return read(write(out, weights=tensors, optimizer={}, state=state, config=config, texts=first.texts(), check=check))


def agreed(parents: Sequence[Parent]) -> tuple[Config, list[str]]:
    """Return what the parents' configurations all say of model, data and samples, and the keys of it.

    The other keys are at their defaults.
    """
    configs = [config for parent in parents if (config := parent.config()) is not None]
    values: dict[str, dict[str, Any]] = {}
    for section in SECTIONS:
        said = [getattr(config, section).model_dump() for config in configs]
        values[section] = {key: value for key, value in said[0].items() if all(one[key] == value for one in said)}
    keys = [f"{section}.{key}" for section, inside in values.items() for key in inside]
    return Config.model_validate(values), keys


def _in_their_layout(
    out: Path, like: Path, tensors: Mapping[str, Streamed], state: dict[str, Any],
    made: Callable[[], Mapping[str, Any]], check: Callable[[], object],
) -> Checkpoint:  # fmt: skip
    """Write a folder as Hugging Face's: one file of weights, and what lies beside the first parent's."""
    with written_whole(out) as partial:
        write_tensors(partial / "model.safetensors", tensors, {"format": "pt"})
        for file in _beside(like):
            shutil.copyfile(file, partial / file.name)
            with naming(file), (partial / file.name).open("rb") as copied:
                os.fsync(copied.fileno())
        check()
        state["soup"] = made()
        write_text(partial / STATE, json.dumps(state, indent=1, sort_keys=True))
    return Checkpoint(out, state)


def _beside(folder: Path) -> Iterator[Path]:
    """Yield the configuration and the tokenizer's files of a folder of Hugging Face's layout."""
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in COPIED and file.name != STATE and not file.name.endswith(INDEX):
            yield file
