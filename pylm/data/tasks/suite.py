"""The tasks of a `core.yaml`: which file each is, how many examples it gets, what stands between."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pylm.errors import DataError

__all__ = ["DELIMITERS", "Task", "suite"]

# Where a task says nothing: llm-foundry's, but for what stands between examples. It puts one "\n" there, nanochat two,
# and examples are drawn as nanochat draws them
DELIMITERS = {"continuation_delimiter": " ", "example_delimiter": "\n\n", "question_prelimiter": ""}
TEXTS = ("label", "dataset_uri", "icl_task_type", *DELIMITERS)


@dataclass(frozen=True)
class Task:
    """A task of a suite.

    Attributes:
        name: What the suite calls it.
        file: Where its items lie; None where the file is not on this machine.
        uri: The file as the suite names it.
        kind: llm-foundry's word for its form: `multiple_choice`, `schema`, `language_modeling`, …
        shots: How many examples stand before each question; several numbers are several ways to run it.
        continuation_delimiter: What stands between a question and its answer.
        example_delimiter: What stands between examples.
        question_prelimiter: What stands before each question.
        has_categories: Whether its items are counted by category.
    """

    name: str
    file: Path | None
    uri: str
    kind: str
    shots: tuple[int, ...]
    continuation_delimiter: str
    example_delimiter: str
    question_prelimiter: str
    has_categories: bool


def suite(path: str | os.PathLike[str]) -> list[Task]:
    """Return the tasks that a YAML file lists under `icl_tasks`. It is read without tags: it can hold no code.

    Raises:
        DataError: it is no such file.
    """
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            written = yaml.safe_load(file)
    except OSError as error:
        raise DataError(f"cannot read {os.fspath(path)}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:  # a date or number may be none
        raise DataError(f"{os.fspath(path)} is no YAML: {' '.join(str(error).split())}") from None
    tasks = written.get("icl_tasks") if isinstance(written, dict) else None
    if not isinstance(tasks, list) or not tasks:
        raise DataError(f"{os.fspath(path)} lists no tasks", "a suite has a list icl_tasks")
    return [_task(task, f"{os.fspath(path)} task {number}", Path(path).parent) for number, task in enumerate(tasks, 1)]


def _task(task: Any, place: str, folder: Path) -> Task:
    if not isinstance(task, dict):
        raise DataError(f"{place} is no mapping")
    said = {**DELIMITERS, **task}
    wrong = next((key for key in TEXTS if not isinstance(said.get(key), str)), None)
    if wrong is not None:
        raise DataError(f"{place}: {wrong} is no text")
    shots = said.get("num_fewshot", [0])
    shots = shots if isinstance(shots, list) else [shots]
    if not shots or not all(type(shot) is int and shot >= 0 for shot in shots):
        raise DataError(f"{place}: num_fewshot is {said.get('num_fewshot')!r}", "it is a list of numbers, such as [10]")
    return Task(
        said["label"],
        _file(said, folder),
        said["dataset_uri"],
        said["icl_task_type"],
        tuple(shots),
        has_categories=bool(said.get("has_categories", False)),
        **{key: said[key] for key in DELIMITERS},
    )


def _file(task: Mapping[str, Any], folder: Path) -> Path | None:
    """Return where the suite says the file lies, else beside the suite, gzipped or not."""
    named = folder / task["dataset_uri"]
    tried = [Path(f"{one}{end}") for one in (named, folder / named.name) for end in ("", ".gz")]
    return next((one for one in tried if os.path.isfile(one)), None)
