"""What another tool wrote down of a run, in the shape that a run of pylm has."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pylm._rust import Metrics
from pylm.errors import DataError
from pylm.runs.lines import flat

__all__ = ["STEPS", "Logged", "Row", "logged", "numbers", "ours", "since_first", "step_of"]

# where a row says of which step it is; the first that it has
STEPS = ("step", "global_step", "train/global_step", "trainer/global_step", "_step", "iteration", "iter")
TRAIN, EVALUATION = ("train", "training"), ("val", "eval", "valid", "validation", "dev")
EVALUATED = ("loss", "perplexity", "accuracy", "bits_per_byte")
# our names, and those that other tools have for them
NAMES = {
    "loss": [name for part in TRAIN for name in (f"{part}/loss", f"{part}_loss", f"loss/{part}")],
    "lr": ["train/lr", "learning_rate", "train/learning_rate"],
    "grad_norm": ["train/grad_norm", "gradient_norm", "train/gradient_norm"],
    "tokens_per_second": ["train/tokens_per_second", "tokens_per_sec", "train/tokens_per_sec"],
    "mfu": ["train/mfu", "system/mfu"],
    "memory": ["system/memory"],
    "average_val_loss": ["val/average_loss"],
    "tokens": ["train/tokens", "tokens_seen", "train/tokens_seen", "num_input_tokens_seen"]
    + ["train/num_input_tokens_seen"],
} | {
    "val_loss" if key == "loss" else key: [
        name for part in EVALUATION for name in (f"{part}/{key}", f"{part}_{key}", f"{key}/{part}")
    ]
    for key in EVALUATED
}
OURS = {theirs: name for name, several in NAMES.items() for theirs in several if theirs != name}


class Row(NamedTuple):
    """What was written down at once, and how many seconds after the run began."""

    step: int
    seconds: float | None
    values: Mapping[str, float]
    takes_back: bool = False  # what stood there of this step and later ones holds no more


@dataclass(frozen=True)
class Logged:
    """A run that another tool wrote down: `path` is how it was named."""

    path: Path
    lines: list[dict[str, Any]]  # as metrics.jsonl has them
    resumes: list[dict[str, Any]] = field(default_factory=list)  # as resumes.jsonl has them
    config: dict[str, Any] | None = None  # by flat name; None where the tool keeps none
    is_table: bool = False

    def metrics(self) -> Metrics:
        """Return its numbers as columns."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "metrics.jsonl")
            with path.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in self.lines)
            return Metrics(path, index=False)


def ours(name: str) -> str:
    """Return our name of a metric that another tool names in its own way; its own where we have none."""
    return OURS.get(name.lower(), name)


def logged(name: str, rows: Iterable[Row], config: Mapping[str, Any] | None = None) -> Logged:
    """Return rows in the order in which they were written as a run; a metric that goes back in steps was resumed there.

    Each metric goes back by itself: a file may hold those of steps and then those of epochs.
    """
    columns: dict[str, dict[int, float]] = {}
    seconds: dict[int, float] = {}
    removed: dict[int, dict[int, dict[str, float]]] = {}
    for row in rows:
        if row.seconds is not None:
            seconds[row.step] = row.seconds
        for key in columns if row.takes_back else row.values:
            column = columns.setdefault(key, {})
            if column and row.step < next(reversed(column)) + row.takes_back:
                for step in [step for step in column if step >= row.step]:
                    removed.setdefault(row.step, {}).setdefault(step, {})[key] = column.pop(step)
        for key, value in row.values.items():
            columns[key][row.step] = value
    if not columns:
        raise DataError(f"{name} holds no metric yet", "a run writes the first with its first steps")
    names = _names(columns)
    timed = "seconds" not in names.values()  # else the run wrote down its own

    def line(step: int, values: Mapping[str, float]) -> dict[str, Any]:
        plain = {names[key]: value if math.isfinite(value) else None for key, value in values.items()}
        when = {"seconds": seconds[step]} if timed and step in seconds else {}
        return {**plain, **when, "step": step}

    lines = [line(step, values) for step, values in sorted(_by_step(columns).items())]
    resumes = [
        {"step": step, "removed": [line(at, values) for at, values in sorted(gone.items())]}
        for step, gone in sorted(removed.items())
    ]
    return Logged(Path(name), lines, resumes, None if config is None else dict(config))


def since_first(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows whose seconds are since 1970 with those since the first of them."""
    first = None
    for row in rows:
        first = row.seconds if first is None else first
        yield row._replace(seconds=None if row.seconds is None or first is None else row.seconds - first)


def _names(columns: Iterable[str]) -> dict[str, str]:
    """Return our names of columns, each once; a column keeps its own where another has ours."""
    names = {key: key for key in columns}
    for key in columns:
        if ours(key) not in names.values():
            names[key] = ours(key)
    return names


def _by_step(columns: Mapping[str, Mapping[int, float]]) -> dict[int, dict[str, float]]:
    steps: dict[int, dict[str, float]] = {}
    for key, column in columns.items():
        for step, value in column.items():
            steps.setdefault(step, {})[key] = value
    return steps


def numbers(values: Mapping[str, Any], *, but: Iterable[str] = STEPS) -> dict[str, float]:
    """Return what of a row is a number, by flat name; `NaN` and `Infinity` as text are numbers too."""
    left_out = set(but)
    return {key: one for key, value in flat(values) if key not in left_out and (one := _number(value)) is not None}


def _number(value: Any) -> float | None:
    if isinstance(value, (bool, int, float)):
        return float(value)
    if isinstance(value, str) and value.strip().lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return float(value)
    return None


def step_of(values: Mapping[str, Any], named: Iterable[str] = STEPS) -> int | None:
    """Return of which step a row says that it is; None where it says nothing."""
    for key in named:
        value = values.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer():
            return int(value)
    return None
