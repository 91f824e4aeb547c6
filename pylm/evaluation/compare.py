"""Checkpoints side by side: how far apart they are on the same documents, and whether that is more than chance."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pylm.errors import UsageError
from pylm.evaluation.results import Evaluation
from pylm.evaluation.tasks import TaskResult
from pylm.statistics import Difference, mcnemar, paired_bootstrap

__all__ = ["Beside", "Compared", "beside", "compare"]


# metrics of which less is better; all others are shares of what is right
LESS = ("loss", "bpb", "bits_per_byte", "perplexity", "word_perplexity", "byte_perplexity")


class Compared(NamedTuple):
    """A checkpoint against the first one, by one measure."""

    metric: str
    difference: Difference  # the other less the first
    units: int  # of documents, or of a task's questions
    task: str | None = None

    @property
    def verdict(self) -> str:
        """Say which is better, or that nobody can tell."""
        if not self.difference.is_distinguishable or (self.task is not None and self.difference.p >= 0.05):
            return "not distinguishable"
        return "better" if (self.difference.value < 0) == (self.metric in LESS) else "worse"

    @property
    def unit(self) -> str:
        """Return what is counted."""
        return "documents" if self.task is None else "questions"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for programs."""
        return {
            **({} if self.task is None else {"task": self.task}),
            "metric": self.metric,
            **self.difference._asdict(),
            self.unit: self.units,
            "verdict": self.verdict,
        }


def compare(first: Evaluation, other: Evaluation) -> list[Compared]:
    """Return how two evaluations differ, paired by document and by question.

    Models of one tokenizer are compared by loss and accuracy; those of two, whose tokens are not the same, by bits per
    byte alone. Tasks are compared by the metric that stands for each: accuracies by McNemar's test.
    """
    losses = [] if first.data is other.data is None else _losses(first, other)
    return losses + _of_tasks(first, other)


class Beside(NamedTuple):
    """A checkpoint beside the first one."""

    compared: list[Compared]
    apart: str | None = None  # why their losses are no pairs


def beside(first: Evaluation, other: Evaluation) -> Beside:
    """Return how two evaluations differ; where their losses are no pairs, why, and how their tasks differ."""
    try:
        return Beside(compare(first, other))
    except UsageError as error:
        return Beside(_of_tasks(first, other), f"{error.message}; {error.hint}")


def _of_tasks(first: Evaluation, other: Evaluation) -> list[Compared]:
    return [each for one in first.tasks for two in other.tasks for each in _answers(one, two)]


def _answers(one: TaskResult, two: TaskResult) -> list[Compared]:
    metric = one.primary
    if one.task != two.task or one.fingerprint != two.fingerprint or one.n < 2 or metric not in one.items:
        return []
    mine, others = one.items[metric], two.items[metric]
    apart = paired_bootstrap(mine, others)
    if {*mine, *others} <= {0.0, 1.0}:
        apart = apart._replace(p=mcnemar([value == 1 for value in mine], [value == 1 for value in others]))
    return [Compared(metric, apart, one.n, one.task)]


def _losses(first: Evaluation, other: Evaluation) -> list[Compared]:
    one, two = first.units, other.units
    if one is None or two is None or first.settings["data"] != other.settings["data"]:
        raise UsageError(
            f"{first.checkpoint} and {other.checkpoint} were judged by different data", "judge both by one"
        )
    apart = UsageError(
        f"{first.checkpoint} and {other.checkpoint} read {first.data} in different windows, which are no pairs",
        "judge both document by document",
    )
    if not np.array_equal(one.keys, two.keys):
        raise apart
    if len(one.keys) < 2:
        return []
    if np.array_equal(one.tokens, two.tokens):
        return [
            Compared("loss", paired_bootstrap(one.nats, two.nats, one.tokens), len(one.keys)),
            Compared("accuracy", paired_bootstrap(one.correct, two.correct, one.tokens), len(one.keys)),
        ]
    if not (one.bytes.any() and two.bytes.any()):
        raise UsageError(
            f"{first.checkpoint} and {other.checkpoint} have other tokens, and nobody knows the bytes of both",
            "name their tokenizers",
        )
    if not np.array_equal(one.bytes, two.bytes):
        raise apart
    unit = math.log(2)
    bits = paired_bootstrap(one.text_nats / unit, two.text_nats / unit, one.bytes)
    return [Compared("bits_per_byte", bits, len(one.keys))]
