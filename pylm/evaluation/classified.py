"""Examples with labels: the label that a model finds likeliest, over those that there are.

A label is scored as it was learned, with the end of text after it: so `good` is no part of `good enough`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pylm.errors import CheckpointError, DataError
from pylm.evaluation.measures import standard_error
from pylm.evaluation.scoring import Scorer
from pylm.evaluation.scoring.encoding import Encoded
from pylm.evaluation.tasks import TaskResult

if TYPE_CHECKING:
    from pylm.evaluation.answered import Masked

__all__ = ["classified", "confusion", "macro_f1"]

Counts = npt.NDArray[np.int64]


def classified(
    scorer: Scorer,
    examples: Iterable[Masked],
    labels: Mapping[str, Sequence[int]],
    settings: Mapping[str, Any],
    told: Callable[[str, int, int], None] = lambda task, done, all_of_them: None,
) -> TaskResult:
    """Return how often the likeliest label is the right one, the mean F1 of labels, and what is taken for what.

    Args:
        scorer: the model.
        examples: in ids; what counts of each is one of the labels.
        labels: the ids of each label, its end among them, in the order in which ties go to the first.
        settings: what else the numbers depend on.
        told: called with a word, how many labels of examples are scored, and how many there are.
    """
    names, answers = list(labels), [tuple(map(int, ids)) for ids in labels.values()]
    gold, pairs = [], []
    for number, example in enumerate(examples):
        ids, counts = [int(token) for token in example.ids], np.asarray(example.counts, bool)
        start = int(counts.argmax())
        gold.append(_label_of(tuple(ids[start : start + int(counts.sum())]), answers, names, scorer, number))
        pairs += [Encoded(ids[:start], list(answer)) for answer in answers]
    scores = scorer.score_ids(pairs, told=partial(told, "labels"))
    nats = np.array([score.nats for score in scores]).reshape(len(gold), len(names))
    if not np.isfinite(nats).all():
        raise CheckpointError(
            f"{scorer.name or 'the model'} gives no number for some of {len(scores):,} labels",
            "its weights, or what it computes from them, are not finite: try an earlier checkpoint",
        )
    taken = nats.argmin(1)
    right = [float(one == other) for one, other in zip(taken.tolist(), gold, strict=True)]
    table = confusion(gold, taken.tolist(), len(names))
    return TaskResult(
        task="labels",
        n=len(gold),
        metrics={"acc": math.fsum(right) / len(right), "macro_f1": macro_f1(table)},
        stderr={"acc": standard_error(right, "acc"), "macro_f1": math.nan},
        items={"acc": right},
        primary="acc",
        centred=None,
        cropped=sum(score.cropped for score in scores),
        apart=0,
        settings={**settings, "labels": names},
        confusion={"labels": names, "counts": table.tolist()},
    )


def confusion(gold: Sequence[int], taken: Sequence[int], labels: int) -> Counts:
    """Return how many examples of each label (a row) were taken for each (a column)."""
    table = np.zeros((labels, labels), np.int64)
    np.add.at(table, (np.asarray(gold, int), np.asarray(taken, int)), 1)
    return table


def macro_f1(table: Counts) -> float:
    """Return the mean F1 of the labels that an example has, or is taken for."""
    of_each, taken_for = table.sum(1), table.sum(0)
    met = (of_each + taken_for) > 0
    return float(np.mean(2 * np.diag(table)[met] / (of_each + taken_for)[met]))


def _label_of(
    ids: tuple[int, ...], answers: Sequence[tuple[int, ...]], names: Sequence[str], scorer: Scorer, number: int
) -> int:
    if ids not in answers:
        said = scorer.tokenizer.decode(ids, skip_special=True).strip()
        known = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        raise DataError(f"example {number} has the label {said!r}, and those that were learned are {known}")
    return answers.index(ids)
