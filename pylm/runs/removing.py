"""Runs are removed whole, and nothing else is."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from pylm.errors import UsageError
from pylm.runs.documents import DOCUMENTS
from pylm.runs.finding import find_run

__all__ = ["check_removable", "remove_run"]

# what pylm writes into a run's folder; with anything else in it, it is somebody's own too
OURS = {
    *("config.yaml", "environment.json", "metrics.jsonl", "metrics.idx", "incidents.jsonl", "samples.jsonl"),
    *(
        "evaluations.jsonl",
        "resumes.jsonl",
        "checkpoints",
        "loss.svg",
        "report.html",
        "profile",
        "trackers",
        ".lock",
        DOCUMENTS,
    ),
}


def check_removable(name: str | Path) -> Path:
    """Return the folder of a run that may be removed; the error says what keeps it."""
    run = find_run(name)
    if run.is_symlink():
        raise UsageError(f"{run} is a link to {run.resolve()}", "name the folder itself")
    names = {entry.name for entry in run.iterdir()}
    if "config.yaml" not in names:
        raise UsageError(f"{run} holds no config.yaml: pylm did not make it", "remove it yourself")
    foreign = sorted(name for name in names - OURS if not _is_partial(name))
    if foreign:
        some = ", ".join(foreign[:3]) + (" and more" if len(foreign) > 3 else "")
        raise UsageError(f"{run} holds what pylm did not make: {some}", "move that away first")
    return run


def remove_run(run: Path) -> None:
    """Remove a run's folder, under its lock: one that a process trains in is refused."""
    lock = os.open(run / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(run)
    except BlockingIOError:
        holder = os.read(lock, 32).decode("ascii", "replace").strip() or "unknown"
        raise UsageError(f"{run} is in use by process {holder}", "stop it first") from None
    finally:
        os.close(lock)


def _is_partial(name: str) -> bool:
    """Say whether a file is what a killed process of ours left half-written."""
    return (name.startswith(".") and name.endswith(".partial")) or name.startswith("metrics.tmp")
