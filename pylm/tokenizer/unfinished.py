"""Folders for work that is not done yet: what killed processes left of them goes with the next that is made."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["lockable", "unfinished"]


@contextmanager
def unfinished(folder: Path, kind: str) -> Iterator[Path]:
    """Yield an empty folder `.NAME.kind-…` beside `folder`, gone at the end if it has not taken another's place.

    It is locked while its process lives. Those that are not are removed first.
    """
    prefix = f".{folder.name}.{kind}-"
    for left in folder.parent.glob(f"{_quoted(prefix)}*"):
        with _locked(left) as ours:
            if ours:
                shutil.rmtree(left, ignore_errors=True)
    while True:
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
        with _locked(made):
            if not made.exists():  # removed by another between its making and its locking
                continue
            try:
                yield made
            finally:
                shutil.rmtree(made, ignore_errors=True)
            return


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Lock a folder, and say whether that could be done: not if another process holds it, nor on some networks."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield False
        return
    try:
        yield _try(handle)
    finally:
        os.close(handle)


def lockable(path: Path) -> bool:
    """Whether no process holds the lock on a file; one that is not there is free."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError as error:
        return error.errno == errno.ENOENT
    try:
        return _try(handle)
    finally:
        os.close(handle)


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _quoted(name: str) -> str:
    """A name as a pattern that nothing else matches."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)
