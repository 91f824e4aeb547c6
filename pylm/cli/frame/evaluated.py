"""What an evaluation found, as the lines and tables of `pylm eval`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pylm.cli.frame.answers import answers, number
from pylm.cli.frame.table import table
from pylm.config.units import counted

if TYPE_CHECKING:
    from pylm.evaluation.breakdown import Bin
    from pylm.evaluation.compare import Beside
    from pylm.evaluation.results import Evaluation

__all__ = ["lines_of"]

# a measure's name, and what it is called over its column
COLUMNS = {
    "loss": "loss",
    "perplexity": "perplexity",
    "accuracy": "accuracy",
    "bits_per_byte": "bits/byte",
    "bits_per_byte_with_eot": "with eot",
    "bits_per_character": "bits/char",
    "calibration_error": "ECE",
}


def lines_of(found: Sequence[Evaluation], compared: Sequence[Beside]) -> Iterator[str]:
    """Yield what the command prints: a line a checkpoint, what was asked for beside it, and how they differ."""
    judged = [each for each in found if each.data is not None]
    if judged:
        rows: list[tuple[str, ...]] = [("checkpoint", *COLUMNS.values())]
        for each in judged:
            rows.append((os.path.relpath(each.checkpoint), *(number(getattr(each, name)) for name in COLUMNS)))
        yield from table(rows)
    for each in judged:
        documents = 0 if each.units is None else len(each.units.keys)
        where = "" if each.settings.get("documents") else ", in windows"
        tokens = f"{counted(each.tokens, 'token')} of {counted(documents, 'document')}"
        yield f"{each.data}: {tokens}{where}; {each.engine}"
        if "loss" in each.stderr:
            yield f"  loss ± {each.stderr['loss']:.4f}, accuracy ± {each.stderr['accuracy']:.4f} (standard errors)"
        for name, bins in each.by.items():
            yield f"by {name}:"
            yield from table([(name, "tokens", "loss", "accuracy", "confidence"), *map(_bin, bins)])
    yield from answers(found)
    for each, (differences, apart) in zip(found[1:], compared, strict=True):
        names = f"{os.path.relpath(each.checkpoint)} against {os.path.relpath(found[0].checkpoint)}"
        if apart is not None:
            yield f"{names}: losses are not compared: {apart}"
        elif not differences and (each.data is not None or each.tasks):
            yield f"{names}: too few {'documents' if each.data is not None else 'questions'} to tell"
        for one in differences:
            value, low, high, p = one.difference
            metric = one.metric.replace("_", " ") if one.task is None else f"{one.task} {one.metric}"
            yield (
                f"{names}: {metric} {value:+.4f} (95 %: {low:+.4f} to {high:+.4f}, p = {p:.2g}, "
                f"{one.units:,} {one.unit}): {one.verdict}"
            )


def _bin(each: Bin) -> tuple[str, ...]:
    bounds = f"{each.first:g}" if each.first == each.last else f"{each.first:g}–{each.last:g}"
    return bounds, f"{each.tokens:,}", f"{each.loss:.4f}", f"{each.accuracy:.4f}", f"{each.confidence:.4f}"
