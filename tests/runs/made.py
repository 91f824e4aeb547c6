"""Folders of runs that no training made: lines, a configuration and what was noted of the machine."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["line_of", "made_run"]


def line_of(step: int, loss: float | None, **more: Any) -> dict[str, Any]:
    """A step's line as training writes it."""
    phase = {"data": 0.25, "forward": 0.5, "backward": 1.0}
    figures = {"step": step, "tokens": step * 64, "seconds": step / 10, "loss": loss, "lr": 1e-3, "grad_norm": 0.5}
    return {**figures, "tokens_per_second": 640.0, "mfu": 0.25, "memory": 1 << 20, "phase": phase, **more}


def made_run(
    path: Path,
    steps: int = 40,
    *,
    lift: float = 0.0,
    config: Mapping[str, Any] | None = None,
    lines: Iterable[Mapping[str, Any]] | None = None,
    **noted: Any,
) -> Path:
    """A run of so many steps, evaluated at each tenth."""
    path.mkdir(parents=True)
    if lines is None:
        lines = [line_of(step, 2 + lift + 3 * math.exp(-step / 9)) for step in range(1, steps + 1)]
        lines += [
            {"step": step, "tokens": step * 64, "seconds": step / 10, "val_loss": 2.1 + lift + 3 * math.exp(-step / 9)}
            | {"bits_per_byte": 1 + lift}
            for step in range(10, steps + 1, 10)
        ]
        lines.sort(key=lambda line: line["step"])
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "config.yaml").write_text(json.dumps({"train": {"max_steps": steps}, **(config or {})}))
    environment = {"argv": ["train", "--data", "data/x"], "choices": {"device_name": "a machine"}, **noted}
    (path / "environment.json").write_text(json.dumps(environment))
    return path
