"""A run's folder, held by one process at a time.

runs/x/config.yaml  metrics.jsonl  incidents.jsonl  samples.jsonl  resumes.jsonl  environment.json  checkpoints/
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from pylm.durable import flush_folder, make_folder, replace_text
from pylm.errors import PylmError
from pylm.runs.differing import environment
from pylm.runs.lines import Lines
from pylm.wording import call, param

__all__ = ["RunFolder"]

LOCK = ".lock"
TRIES = 20
WRITTEN = ("config.yaml", "environment.json")
LINES = ("metrics.jsonl", "incidents.jsonl", "samples.jsonl")
RESUMES = "resumes.jsonl"


class RunFolder:
    """The files of a run, behind a lock that the kernel takes back when the process is gone, however it went."""

    def __init__(self, path: Path) -> None:
        """Make the folder where it is not there, and take the lock."""
        self.path = path
        try:
            self._made = make_folder(path)
        except (FileExistsError, NotADirectoryError):
            raise PylmError(f"{path} is a file, and a run is a folder", f"name another with {param('out')}") from None
        self._lock = self._locked()
        self._folder = os.open(path, os.O_RDONLY)
        os.ftruncate(self._lock, 0)
        os.write(self._lock, f"{os.getpid()}\n".encode())
        for name in (*WRITTEN, *LINES):
            self._partial(name).unlink(missing_ok=True)  # of a process that was killed
        self.metrics, self.incidents, self.samples = (Lines(path / name) for name in LINES)
        self._resumes = Lines(path / RESUMES)

    def write(self, name: str, text: str) -> None:
        """Write a small file whole."""
        self.check()
        replace_text(self.path / name, text, self._partial(name))

    def check(self) -> None:
        """Refuse to go on where the folder is no longer there: what is written would be nowhere, or half a run."""
        if not (self._is_at(self.path, self._folder) or self._is_at(self.path / LOCK, self._lock)):
            raise PylmError(
                f"{self.path} was removed or moved while the run was writing there, and nothing more is written",
                f"once it is back, this goes on: {call('train', resume='auto', out=self.path)}",
            )

    def environment(self, facts: Mapping[str, Any]) -> None:
        """Say where the run ran and what was chosen for it; a value of the run's own file keeps the origin it had."""
        if origins := facts.get("origins"):
            before = environment(self.path).get("origins", {})
            kept = {key: before.get(key, one) for key, one in origins.items() if one.startswith(f"{self.path}/")}
            facts = {**facts, "origins": {**origins, **kept}}
        self.write("environment.json", json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n")

    def cut_back(
        self, step: int, evaluated: int | None = None, sampled: int | None = None, asked: int | None = None
    ) -> int:
        """Make the folder one that has not gone past a step; returns how many lines of metrics went.

        Args:
            step: the last that was taken.
            evaluated: the last that was evaluated by then, where evaluating this one is still to come.
            sampled: the last that was sampled by then.
            asked: the last at which the suite was asked by then.
        """
        kinds = {"val_loss": evaluated, "samples": sampled, "suite": asked}
        last = {kind: step if taken is None else taken for kind, taken in kinds.items()}
        self.incidents.cut_back(step)
        self.samples.cut_back(last["samples"])
        gone: list[dict[str, Any]] = []

        def is_past(record: Mapping[str, Any]) -> bool:
            return any(kind in record and record.get("step", 0) > taken for kind, taken in last.items())

        removed = self.metrics.cut_back(step, is_past, gone)
        if step or gone:
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            kept = {name: self._size(name) for name in LINES}  # where those who read on have to go back to
            self._resumes.append({"step": step, "time": now, "kept": kept, "removed": gone})
        return removed

    def flush(self) -> None:
        """Make all lines outlive a loss of power."""
        self.check()
        for lines in (self.metrics, self.incidents, self.samples):
            lines.flush()
        flush_folder(self.path)

    def close(self) -> None:
        """Let go of the files and the lock; where nothing was trained, a folder that was made for it goes again."""
        for lines in (self.metrics, self.incidents, self.samples, self._resumes):
            lines.close()
        if self._lock >= 0:
            self._leave_nothing_of_nothing()
            os.close(self._lock)
            os.close(self._folder)
            self._lock = self._folder = -1

    def _locked(self) -> int:
        """The lock, taken; an error where somebody else has it."""
        for _ in range(TRIES):
            lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(lock, 32).decode("ascii", "replace").strip()
                os.close(lock)
                raise PylmError(
                    f"{self.path} is in use by process {holder or 'unknown'}",
                    f"wait for it, stop it, or name another with {param('out')}",
                ) from None
            if self._is_at(self.path / LOCK, lock):
                return lock
            os.close(lock)  # whoever held it removed the file with the folder: it locks nothing
            self._made += make_folder(self.path)
        raise PylmError(f"{self.path} is removed as often as it is made", f"name another with {param('out')}")

    def _is_at(self, path: Path, handle: int) -> bool:
        """Whether a name still is the file or folder that was opened."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(handle))
        except OSError:
            return False

    def _size(self, name: str) -> int:
        path = self.path / name
        return path.stat().st_size if path.exists() else 0

    def _partial(self, name: str) -> Path:
        return self.path / f".{name}.partial"

    def _leave_nothing_of_nothing(self) -> None:
        """Remove what is in the folder where that is no run yet."""
        if not self._is_at(self.path, self._folder):
            return
        with contextlib.suppress(OSError):  # something else came into it
            names = {entry.name for entry in self.path.iterdir()}
            if not self._made and names != {LOCK}:
                return
            lines = names & {*LINES}
            if names - {LOCK, *WRITTEN, *LINES} or any((self.path / name).stat().st_size for name in lines):
                return
            for name in names:
                (self.path / name).unlink()
            for folder in self._made[::-1] or [self.path]:
                folder.rmdir()

    def __enter__(self) -> RunFolder:
        """Return it, for `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Close it."""
        self.close()
        return False
