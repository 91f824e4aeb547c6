"""What tasks came to, as the table of `pylm eval` and the lines below it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pylm.cli.frame.table import table
from pylm.config.units import counted

if TYPE_CHECKING:
    from pylm.evaluation.results import Evaluation

__all__ = ["answers", "number"]


def answers(found: Sequence[Evaluation]) -> Iterator[str]:
    """Yield the table of tasks, the checkpoints of each below one another, and what else there is to say of them."""
    given = [(os.path.relpath(each.checkpoint), result) for each in found for result in each.tasks]
    order = list(dict.fromkeys(result.task for _, result in given))
    given.sort(key=lambda one: order.index(one[1].task))
    metrics = sorted({metric for _, result in given for metric in result.metrics}, key=lambda one: (one == "bpb", one))
    rows = [("task", "checkpoint", "questions", *metrics, "measured by", "±", "centred")]
    for checkpoint, result in given:
        values = (number(result.metrics.get(metric)) for metric in metrics)
        error, centred = number(result.stderr[result.primary]), number(result.centred)
        rows.append((result.task, checkpoint, f"{result.n:,}", *values, result.primary, error, centred))
    if given:
        yield from table(rows, to_the_left=(0, 1))
    for checkpoint, result in given:
        if result.cropped:
            lost = "is longer than the model's context, and lost its beginning"
            if result.cropped > 1:
                lost = "are longer than the model's context, and lost their beginning"
            yield f"{result.task}, {checkpoint}: {counted(result.cropped, 'pair')} {lost}"
        if result.apart:
            what = "encoded apart, for a token would lie across context and continuation"
            yield f"{result.task}, {checkpoint}: {counted(result.apart, 'pair')} {what}"
    for checkpoint, result in given:
        if result.confusion is not None:
            yield f"{checkpoint}: labels (rows) and what they were taken for"
            names, counts = result.confusion["labels"], result.confusion["counts"]
            yield from table([("", *names)] + [(name, *map(str, row)) for name, row in zip(names, counts, strict=True)])
    for each in found:
        if each.suite is not None and each.suite.score is not None:
            name, value = each.suite.score
            yield f"{os.path.relpath(each.checkpoint)}: {name} {value:.4f}, the mean of the centred accuracies"
        if each.texts is not None:
            told = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in each.texts.metrics.items())
            made = f"{counted(each.texts.texts, 'text')} of {counted(each.texts.tokens, 'token')}"
            yield f"{os.path.relpath(each.checkpoint)}: {made}: {told}"
    if (suite := found[0].suite) is not None:
        here = {result.task for result in suite.results}
        for name, why in suite.missing.items():
            yield f"{'not in the score' if name in here else 'not here'}: {name}: {why}"


def number(value: float | None) -> str:
    """Return a number of a table; a dash where nobody knows it."""
    return "-" if value is None or math.isnan(value) else f"{value:,.4f}"
