"""Small files that outlive a loss of power: flushed before they get their names, and the names flushed after."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["flush_folder", "make_folder", "naming", "replace_text", "write_bytes", "write_text"]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give the name of a file to what the system says of it: `write` and `fsync` fail without one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a small file and flush it to the disk."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file from memory and flush it to the disk."""
    with naming(path), path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_text(path: Path, text: str, partial: Path) -> None:
    """Write a small file whole: a reader sees the old one or the new one, never half of one.

    Args:
        path: the file.
        text: what it is to hold.
        partial: the name under which it is written.
    """
    write_text(partial, text)
    os.replace(partial, path)
    flush_folder(path.parent)


def flush_folder(path: Path) -> None:
    """Make the names in a folder durable: a rename is lost with the power until its folder is flushed."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> list[Path]:
    """Make a folder and those above it, their names flushed, and return those that were not there, outermost first."""
    missing = []
    while not path.is_dir() and path != path.parent:
        missing.append(path)
        path = path.parent
    made = []
    for folder in reversed(missing):
        try:
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():
                raise
            continue  # somebody else was faster
        made.append(folder)
        with suppress(PermissionError):  # folders may be made where none may be listed
            flush_folder(folder.parent)
    return made
