"""Figures in a CSV file: one column says of which step a row is, every other one with numbers is a metric."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pylm.errors import DataError, UsageError, did_you_mean
from pylm.runs.readers.logged import STEPS, Logged, Row, logged, since_first
from pylm.wording import param

__all__ = ["open_csv"]

SINCE_1970 = ("wall time", "timestamp", "_timestamp")
TIMES = (*SINCE_1970, "_runtime", "time", "seconds")


def open_csv(name: str, path: Path, x: str | None = None) -> Logged:
    """Return the run of a file.

    Args:
        name: How it was named.
        path: The file, whose first line names its columns.
        x: The column of steps; one that is called so if not given.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            heads = [head.strip() for head in next(lines, [])]
            at = _column(path, heads, x)
            rows = list(_rows(path, heads, at, lines))
            if any(head.lower() in SINCE_1970 for head in heads):
                rows = list(since_first(rows))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file", "csv:FILE is a table whose first line names its columns") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}", "a table of numbers in UTF-8 is") from None
    return replace(logged(name, rows), is_table=True)


def _column(path: Path, heads: Sequence[str], x: str | None) -> int:
    """Return which column says of which step a row is."""
    lower = [head.lower() for head in heads]
    for known in STEPS if x is None else (x.lower(),):
        if known in lower:
            return lower.index(known)
    there = f"it has {', '.join(heads)}" if heads else "its first line names its columns"
    if x is not None:
        raise UsageError(f"{path} has no column {x}", did_you_mean(x, heads) or there)
    raise UsageError(f"{path} has no column of steps", f"{there}; {param('x', 'COLUMN')} names it")


def _rows(path: Path, heads: Sequence[str], at: int, lines: Iterator[list[str]]) -> Iterator[Row]:
    when = next((heads.index(head) for head in heads if head.lower() in TIMES), None)
    names = [head.rpartition(" - ")[2] for head in heads]  # W&B writes `the run's name - metric`
    for number, cells in enumerate(lines, 2):
        if not any(cells):
            continue
        step = _number(cells[at]) if at < len(cells) else None
        if step is None or not step.is_integer():
            raise DataError(f"{path}: line {number} is of no step", f"its column {heads[at]} holds whole numbers")
        found = {place: value for place, cell in enumerate(cells[: len(heads)]) if (value := _number(cell)) is not None}
        metrics = {names[place]: value for place, value in found.items() if place not in (at, when)}
        yield Row(int(step), found.get(when) if when is not None else None, metrics)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
