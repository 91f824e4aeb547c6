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

__all__ = ["WAS", "clear", "left_behind", "lockable", "unfinished"]

# under this name lies what was moved aside to make room for new work: it is given back where that did not come
WAS = "was"


@contextmanager
def unfinished(folder: Path, kind: str) -> Iterator[Path]:
    """Yield an empty folder `.NAME.kind-…` beside `folder`, gone at the end if it has not taken another's place.

    It is locked while its process lives. Those that are not are removed first.
    """
    clear(folder, kind)
    while True:
        made = Path(tempfile.mkdtemp(prefix=_prefix(folder, kind), dir=folder.parent))
        with _locked(made):
            if not made.exists():  # removed by another between its making and its locking
                continue
            try:
                yield made
            finally:
                _remove(made, folder)
            return


def clear(folder: Path, kind: str) -> None:
    """Remove what killed processes left of this kind of work; a folder that one moved aside gets its place back."""
    for left in _left(folder, kind):
        with _locked(left) as ours:
            if ours:
                _remove(left, folder)


def left_behind(folder: Path, kind: str) -> Path | None:
    """Return where a folder lies that is not in its place, as a process was killed that had moved it aside."""
    if os.path.lexists(folder):
        return None
    return next((left / WAS for left in _left(folder, kind) if (left / WAS).is_dir()), None)


def _remove(made: Path, folder: Path) -> None:
    was = made / WAS
    if os.path.lexists(was) and not os.path.lexists(folder):
        try:
            was.rename(folder)
        except OSError:  # it is the only one: it stays until it can be given back
            return
    shutil.rmtree(made, ignore_errors=True)


def _left(folder: Path, kind: str) -> list[Path]:
    return sorted(folder.parent.glob(f"{_quoted(_prefix(folder, kind))}*"))


def _prefix(folder: Path, kind: str) -> str:
    return f".{folder.name}.{kind}-"


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Lock a folder, and say whether that could be done.

    It cannot if another process holds it, nor on some networks.
    """
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
    """Say whether no process holds the lock on a file; one that is not there is free."""
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
    """Return a name as a pattern that nothing else matches."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)
