"""What a shell completes beside options: the runs of this folder and their checkpoints."""

from __future__ import annotations

import re
from pathlib import Path

import click

__all__ = ["complete_runs"]

RUNS = Path("runs")
STEP = re.compile(r"step_(\d+)")


def complete_runs(_ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the runs under runs/, newest first, and the checkpoints of one whose name stands there with a slash."""
    first = ["auto"] * (param.name == "resume")
    matching = [name for name in (*first, *_runs()) if name.startswith(incomplete)]
    run, slash, _ = incomplete.rpartition("/")
    if slash and Path(run, "checkpoints").is_dir():
        inside = [path.name for path in Path(run, "checkpoints").iterdir()]
        steps = sorted((name for name in inside if STEP.fullmatch(name)), key=lambda name: int(name[5:]), reverse=True)
        ends = [name for name in ("best", "last") if name in inside]
        matching += [f"{run}/{name}" for name in (*ends, *steps) if f"{run}/{name}".startswith(incomplete)]
    return matching


def _runs() -> list[str]:
    try:
        dated = [(path.stat().st_mtime_ns, str(path)) for path in RUNS.iterdir() if (path / "checkpoints").is_dir()]
    except OSError:
        return []
    return [name for _, name in sorted(dated, reverse=True)]
