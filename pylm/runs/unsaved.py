"""Runs that go on and have saved nothing yet: how far they are, and when there will be a model to open."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pylm.runs.lines import read_lines
from pylm.wording import call

__all__ = ["how_far", "in_training", "is_held", "runs_in", "when_it_saves"]


def runs_in(folder: Path) -> list[Path]:
    """Return what lies in a folder of runs, nothing where there is no such folder."""
    return list(folder.iterdir()) if folder.is_dir() else []


def in_training(runs: Iterable[Path]) -> Iterator[Path]:
    """Yield those of the folders that a process trains in and that have no checkpoint yet."""
    from pylm.checkpoint import steps

    for run in runs:
        if (run / "config.yaml").is_file() and not steps(run) and is_held(run / ".lock"):
            yield run


def is_held(lock: Path) -> bool:
    """Say whether a process holds the lock of a run."""
    try:
        with lock.open("rb") as file:
            os.kill(int(file.read(32)), 0)  # so that the lock is tried only where somebody may hold it
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except PermissionError:
        return True  # a process of somebody else's
    except (OSError, ValueError):
        return False


def how_far(run: Path) -> str:
    """Say at which step a run is that has saved nothing."""
    steps = [int(record["step"]) for record in read_lines(run / "metrics.jsonl") if "step" in record]
    place = f"at step {steps[-1]:,}" if steps else "at its first steps"
    return f"{run} is training, {place}, and has saved no checkpoint yet"


def when_it_saves(run: Path) -> str:
    """Say when its first checkpoint comes, and how to have one at once."""
    from pylm.config.cascade import resolve

    every = resolve(files=[run / "config.yaml"], environ={}).config.train.save_every
    first = f"the first comes at step {every:,}" if every else "it saves at its end"
    return f"{first}; Ctrl-C there saves at once, and {call('train', resume=run)} goes on"
