"""Runs by what people type: a folder, or its name below `runs/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pylm.errors import UsageError, did_you_mean
from pylm.runs.run import WRITTEN
from pylm.runs.unsaved import runs_in

__all__ = ["RUNS", "find_run", "find_runs", "is_run", "runs_of"]

RUNS = Path("runs")


def is_run(path: Path) -> bool:
    """Say whether a folder is a run's: one that holds what a run writes."""
    return any((path / name).exists() for name in WRITTEN)


def runs_of(folder: Path) -> list[Path]:
    """Return the runs that lie in a folder, by name."""
    return sorted(path for path in runs_in(folder) if path.is_dir() and is_run(path))


def find_run(name: str | Path) -> Path:
    """Return the folder of a run that was named; it is an error, with the nearest name, where there is none."""
    path = Path(name)
    for place in (path, RUNS / path):
        if place.is_dir() and is_run(place):
            return place
    if (folder := next((place for place in (path, RUNS / path) if place.is_dir()), None)) is not None:
        raise UsageError(f"{folder} is no run: it holds no config.yaml", "pylm runs ls lists the runs of a folder")
    folder = path.parent if path.parent != Path(".") else RUNS
    names = [str(folder / run.name) if folder == path.parent else run.name for run in runs_of(folder)]
    listed = f"there are {', '.join(names[:8])}" if names else "pylm runs ls DIR lists those of another folder"
    raise UsageError(f"there is no run {name}", did_you_mean(str(name), names) or listed)


def find_runs(names: Sequence[str | Path]) -> list[Path]:
    """Return the runs that were named, each once; the one that was written to last where none was."""
    if names:
        return list(dict.fromkeys(find_run(name) for name in names))
    runs = runs_of(RUNS)
    if not runs:
        raise UsageError(f"there is no run in {RUNS}/", "name a run's folder, or train one: pylm train my.txt")
    return [max(runs, key=_written)]


def _written(run: Path) -> float:
    """Return when a run last wrote a line."""
    lines = run / "metrics.jsonl"
    return (lines if lines.exists() else run).stat().st_mtime
