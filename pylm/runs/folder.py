"""A run's folder, held by one process at a time.

runs/x/config.yaml  metrics.jsonl  incidents.jsonl  samples.jsonl  environment.json  checkpoints/
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from pylm.errors import PylmError
from pylm.runs.lines import Lines

__all__ = ["RunFolder"]

LOCK = ".lock"


class RunFolder:
    """The files of a run, behind a lock that the kernel takes back when the process is gone, however it went."""

    def __init__(self, path: Path) -> None:
        """Make the folder where it is not there, and take the lock."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise PylmError(f"{path} is a file, and a run is a folder", "name another with --out") from None
        self._lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 32).decode("ascii", "replace").strip()
            os.close(self._lock)
            raise PylmError(
                f"{path} is in use by process {holder or 'unknown'}", "wait for it, stop it, or name another with --out"
            ) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, f"{os.getpid()}\n".encode())
        self.metrics = Lines(path / "metrics.jsonl")
        self.incidents = Lines(path / "incidents.jsonl")
        self.samples = Lines(path / "samples.jsonl")

    def write(self, name: str, text: str) -> None:
        """Write a small file whole."""
        partial = self.path / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, self.path / name)

    def environment(self, facts: Mapping[str, Any]) -> None:
        """Say where the run ran and what was chosen for it."""
        self.write("environment.json", json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n")

    def cut_back(self, step: int, evaluated: int | None = None, sampled: int | None = None) -> int:
        """Make the folder one that has not gone past a step; returns how many lines of metrics went.

        Args:
            step: the last that was taken.
            evaluated: the last that was evaluated by then, where evaluating this one is still to come.
            sampled: the last that was sampled by then.
        """
        judged, said = step if evaluated is None else evaluated, step if sampled is None else sampled
        self.incidents.cut_back(step)
        self.samples.cut_back(said)
        return self.metrics.cut_back(step, lambda record: "val_loss" in record and record["step"] > judged)

    def flush(self) -> None:
        """Make all lines outlive a loss of power."""
        for lines in (self.metrics, self.incidents, self.samples):
            lines.flush()

    def close(self) -> None:
        """Let go of the files and the lock."""
        for lines in (self.metrics, self.incidents, self.samples):
            lines.close()
        if self._lock >= 0:
            if [entry.name for entry in self.path.iterdir()] == [LOCK]:
                # nothing was begun: what was refused leaves no folder
                (self.path / LOCK).unlink()
                self.path.rmdir()
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> RunFolder:
        """Return it, for `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Close it."""
        self.close()
        return False
