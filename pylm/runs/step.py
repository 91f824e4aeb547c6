"""One step of a run: what was logged around it, and what it takes to read its batch again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import UsageError
from pylm.runs.lines import read_lines

if TYPE_CHECKING:
    from pylm.config.schema import Config

__all__ = ["Step", "look_at_step"]

NEIGHBOURS = 3  # lines of metrics before and after the step


@dataclass(frozen=True)
class Step:
    """A step that a run has taken.

    Attributes:
        config: Of the run.
        batch_size: Sequences of each of its batches.
        metrics: The records nearest to the step, in order.
        incidents: Those of the step itself.
    """

    config: Config
    batch_size: int
    metrics: list[dict[str, Any]]
    incidents: list[dict[str, Any]]


def look_at_step(run: Path, number: int) -> Step:
    """Return what is known of a step, counted as in metrics.jsonl: the first is 1."""
    from pylm.checkpoint import steps
    from pylm.config.cascade import resolve

    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run} is no run: it holds no config.yaml", "name a folder such as runs/x")
    config = resolve(files=[run / "config.yaml"], environ={}).config
    records = [record for record in read_lines(run / "metrics.jsonl") if "lr" in record]
    saved = steps(run)
    batch_size = _batch_size(run, saved)
    last_logged = max((int(record["step"]) for record in records), default=0)
    last = max(last_logged, saved[-1] if saved else 0)
    if number > last + config.metrics.log_every:
        raise UsageError(f"{run} has taken {last:,} steps, not {number:,}", "name a step that it has taken")
    nearest = sorted(records, key=lambda record: (abs(record["step"] - number), record["step"]))[: 2 * NEIGHBOURS + 1]
    return Step(
        config,
        batch_size,
        metrics=sorted(nearest, key=lambda record: int(record["step"])),
        incidents=[record for record in read_lines(run / "incidents.jsonl") if record["step"] == number],
    )


def _batch_size(run: Path, saved: list[int]) -> int:
    """Read how many sequences a batch has: from the newest checkpoint, else from what the run noted at its start."""
    from pylm.checkpoint import read

    sequences = None
    if saved:
        sequences = read(run / "checkpoints" / f"step_{saved[-1]}").state["loader"]["batch_size"]
    elif (run / "environment.json").is_file():
        sequences = json.loads((run / "environment.json").read_text(encoding="utf-8")).get("sequences")
    if sequences is None:
        raise UsageError(f"{run} has not begun", "it has neither a checkpoint nor an environment.json")
    return int(sequences)
