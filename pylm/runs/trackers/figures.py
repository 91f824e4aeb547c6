"""A line of metrics.jsonl as the flat names that dashboards group by: `train/loss`, `val/loss`, `system/memory`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pylm.runs.lines import flat

__all__ = ["figures", "numbers"]

POSITIONS = ("step", "tokens", "seconds")
# null in metrics.jsonl is what was not finite; elsewhere it is what nobody knows
MEASURED = {"loss", "grad_norm", "val_loss", "average_val_loss", "perplexity"}
NAMED = {"memory": "system/memory", "val_loss": "val/loss", "average_val_loss": "val/average_loss"}
GROUPS = {"phase": "time", "tasks": "suite", "means": "suite/mean", "score": "suite/score", "average": "suite/average"}


def numbers(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a line, one within an object as `phase.data`; what was not finite is NaN."""
    for key, value in flat(record):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield key, value
        elif value is None and key in MEASURED:
            yield key, math.nan


def figures(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a line by the names that trackers show, `tokens` and `seconds` among them, not `step`."""
    kind = next((part for mark, part in KINDS.items() if mark in record), "train")
    return {_named(key, kind): value for key, value in numbers(record) if key != "step"}


KINDS = {"val_loss": "val", "suite": "suite", "samples": "samples"}


def _named(key: str, kind: str) -> str:
    if key in POSITIONS:
        return key
    group, dot, rest = key.partition(".")
    if dot:
        return f"{GROUPS.get(group, f'{kind}/{group}')}/{rest.replace('.', '/')}"
    return NAMED.get(key, f"{kind}/{key}")
