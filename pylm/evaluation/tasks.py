"""Tasks on a model: their questions, what its log-likelihoods make of them, and what that comes to."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pylm.errors import CheckpointError, UsageError
from pylm.evaluation.measures import measured, standard_error
from pylm.evaluation.questions import FOLDERS, Question, file_of, questions
from pylm.evaluation.results import fingerprint
from pylm.evaluation.scoring import Scorer
from pylm.evaluation.scoring.encoding import Encoded
from pylm.evaluation.task import Task

__all__ = ["Prepared", "Task", "TaskResult", "answered", "prepare", "run"]

Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TaskResult:
    """What a model is worth on a task."""

    task: str
    n: int
    metrics: dict[str, float]  # means over the items
    stderr: dict[str, float]
    items: dict[str, list[float]]  # by metric, in the order of the questions: pairs of models are compared by these
    primary: str
    centred: float | None  # the primary accuracy, 0 for chance and 1 for all right, where chance is known
    cropped: int  # pairs that were longer than the model's context
    apart: int  # pairs whose context and continuation could not be encoded together
    settings: dict[str, Any]
    confusion: dict[str, Any] | None = None  # of labels: how many of each were taken for which

    @property
    def fingerprint(self) -> str:
        """The settings in a few letters, wherever the file lies and however it was named: numbers of one compare."""
        named = ("file",) if "harness" in self.settings else ("file", "name")  # the harness's have no hash of a file
        return fingerprint({key: value for key, value in self.settings.items() if key not in named})

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for programs; items are left out."""
        made = {key: value for key, value in vars(self).items() if key != "items"}
        errors = {metric: error if math.isfinite(error) else None for metric, error in self.stderr.items()}
        return {**made, "stderr": errors, "fingerprint": self.fingerprint}

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield a record for each metric: what evaluations.jsonl keeps."""
        for metric, value in self.metrics.items():
            error = self.stderr[metric]
            yield {
                "task": self.task, "metric": metric, "value": value, "n": self.n,
                "stderr": error if math.isfinite(error) else None, "settings": self.fingerprint,
            }  # fmt: skip


class Prepared(NamedTuple):
    """A task whose questions are read: it can be asked as often as anybody likes."""

    task: Task
    path: Path
    questions: list[Question]
    sha256: str  # of the file


def run(
    scorer: Scorer,
    tasks: Sequence[str | Task],
    *,
    limit: int | None = None,
    prefix: str = "eot",
    batch: int | None = None,
    folders: Sequence[Path] = FOLDERS,
    told: Told = lambda task, done, all_of_them: None,
) -> list[TaskResult]:
    """Return the results of tasks, in their order.

    Args:
        scorer: the model.
        tasks: names or paths of files, or tasks that say more of themselves.
        limit: questions of each task at most.
        prefix: what stands before each context, eot or none, where a task does not say.
        batch: continuations a pass; it changes nothing but the time.
        folders: where tasks are looked for by name.
        told: called with a task's name and how many of its continuations are done.
    """
    return answered(scorer, prepare(tasks, limit, folders), prefix=prefix, batch=batch, told=told)


def prepare(tasks: Sequence[str | Task], limit: int | None = None, folders: Sequence[Path] = FOLDERS) -> list[Prepared]:
    """Return tasks with their questions; the arguments are those of `run`."""
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}", "at least 1 question")
    wanted = [Task(task, task) if isinstance(task, str) else task for task in tasks]
    found = [(task, file_of(task.file, folders)) for task in wanted]  # one that lacks is said before the first is read
    found = [(replace(task, limit=_least(limit, task.limit)), path) for task, path in found]
    return [
        Prepared(task, path, questions(task, path, task.limit), hashlib.sha256(path.read_bytes()).hexdigest())
        for task, path in found
    ]


def answered(
    scorer: Scorer,
    tasks: Sequence[Prepared],
    *,
    prefix: str = "eot",
    batch: int | None = None,
    told: Told = lambda task, done, all_of_them: None,
) -> list[TaskResult]:
    """Return a model's results of tasks; the arguments are those of `run`."""
    return [_result(scorer, one, one.task.prefix or prefix, batch, partial(told, one.task.name)) for one in tasks]


def _least(one: int | None, other: int | None) -> int | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _result(
    scorer: Scorer, prepared: Prepared, prefix: str, batch: int | None, told: Callable[[int, int], None]
) -> TaskResult:
    task, path, items, sha256 = prepared
    encoded = scorer.encode([pair for item in items for pair in item.pairs], prefix)
    own = [len(pair.continuation) for pair in encoded]
    start = 0
    for item in items:
        stop = start + len(item.pairs)
        if item.kind == "schema":
            encoded[start:stop] = _widened(encoded[start:stop])
        start = stop
    scores = scorer.score_ids(encoded, batch=batch, told=told)
    if unknown := sum(math.isnan(score.nats) for score in scores):
        raise CheckpointError(
            f"{scorer.name or 'the model'} gives no number for {unknown:,} of {len(scores):,} continuations of "
            f"{task.name}",
            "its weights, or what it computes from them, are not finite: try an earlier checkpoint",
        )
    values: dict[str, list[float]] = {}
    start = 0
    for item in items:
        stop = start + len(item.pairs)
        for metric, value in measured(item, scores[start:stop], own[start:stop]).items():
            values.setdefault(metric, []).append(value)
        start = stop
    metrics = {metric: math.fsum(column) / len(column) for metric, column in values.items()}
    primary = task.primary or ("acc_norm" if "acc_norm" in metrics else "acc")
    if primary not in metrics:
        raise UsageError(f"{task.name} has no {primary}", f"its metrics are {', '.join(metrics)}")
    return TaskResult(
        task=task.name,
        n=len(items),
        metrics=metrics,
        stderr={metric: standard_error(column, metric) for metric, column in values.items()},
        items=values,
        primary=primary,
        centred=_centred(metrics[primary], task.baseline) if primary.startswith("acc") else None,
        cropped=sum(score.cropped for score in scores),
        apart=sum(score.apart for score in scores),
        settings={
            **asdict(replace(task, file=str(path))),
            "prefix": prefix,
            "sha256": sha256,
        },
    )


def _centred(accuracy: float, chance: float | None) -> float | None:
    return None if chance is None else (accuracy - chance) / (1 - chance)


def _widened(pairs: Sequence[Encoded]) -> list[Encoded]:
    """Return the pairs of a schema with all tokens that they end with alike in their continuations."""
    all_ids = [[*pair.context, *pair.continuation] for pair in pairs]
    least = min(map(len, all_ids)) - 1
    alike = next((n for n in range(least) if len({ids[-1 - n] for ids in all_ids}) > 1), least)
    widened = []
    for pair, ids in zip(pairs, all_ids, strict=True):
        cut = len(ids) - max(alike, len(pair.continuation))
        widened.append(Encoded(ids[:cut], ids[cut:], pair.apart))
    return widened
