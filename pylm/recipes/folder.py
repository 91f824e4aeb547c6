"""The folder of a recipe: one of each step and fingerprint, with what it was made of, what it came to, and its words.

DIR/.lock  DIR/steps/<step>-<fingerprint>/{step.json, done.json, log.txt, answer.json, out}
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pylm.durable import make_folder, replace_text
from pylm.errors import PylmError
from pylm.wording import param

__all__ = ["STEP", "DONE", "StepFolder", "held", "of_step"]

LOCK, STEP, DONE = ".lock", "step.json", "done.json"
LETTERS = 12  # of a fingerprint, in a name
PATIENCE = 60.0  # seconds for the step of a driver that was killed, which saves and ends by itself


class StepFolder:
    """Where a step's work lies."""

    def __init__(self, path: Path, writes: str = "out") -> None:
        """Name the folder, and what the command writes in it."""
        self.path = path
        self.out = path / writes
        self.log, self.answer = path / "log.txt", path / "answer.json"

    @classmethod
    def of(cls, folder: Path, name: str, fingerprint: str, writes: str) -> StepFolder:
        """Return that of a step with its fingerprint."""
        return cls(folder / "steps" / f"{name}-{fingerprint[:LETTERS]}", writes)

    def read(self, name: str) -> dict[str, Any] | None:
        """Return one of its records; None where it is not there, or not whole."""
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Write one of its records, which is there whole or not at all."""
        text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, default=str)
        replace_text(self.path / name, text + "\n", self.path / f".{name}.partial")


def of_step(folder: Path, name: str) -> list[StepFolder]:
    """Return the folders of a step, whatever their fingerprints, the one that began last in front."""
    found = [StepFolder(path) for path in folder.glob(f"steps/{name}-{'?' * LETTERS}")]
    begun = [(float((one.read(STEP) or {}).get("began", 0)), one) for one in found]
    return [one for _, one in sorted(begun, key=lambda each: (-each[0], each[1].path.name))]


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """Hold a recipe's folder, and yield the lock: a step that inherits it holds it too, until it ends.

    What a driver that was killed has left running saves and ends by itself: that is waited for.
    """
    make_folder(folder)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(lock, folder)
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        yield lock
    finally:
        os.close(lock)


def _take(lock: int, folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
            if _lives(holder) or time.monotonic() > until:
                raise PylmError(
                    f"{folder} is in use by process {holder or 'unknown'}",
                    f"wait for it, stop it, or name another with {param('out')}",
                ) from None
            time.sleep(0.1)


def _lives(holder: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(holder), 0)
        return True
    return False
