"""Cleaned text without a folder of its own: it is cleaned when the first document is asked for."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from pylm.data.streaming.files import Files, Reading
from pylm.data.streaming.stream import Cursor, State, Stream

__all__ = ["CleanedStream"]


class CleanedStream(Stream):
    """The kept text of sources, in a temporary folder that goes with this object and its cursors."""

    def __init__(self, clean: Callable[[Path], object]) -> None:
        """Take what cleans into a folder."""
        self._clean = clean

    @property
    def name(self) -> str:
        """How a sentence calls it."""
        return "cleaned text"

    def cursor(self, state: State | None = None) -> Cursor:
        """Return a cursor at the beginning, or at a position."""
        return self._files.cursor(state)

    @cached_property
    def _files(self) -> Stream:
        scratch = tempfile.mkdtemp(prefix="pylm-clean-")
        folder = Path(scratch) / "text"
        files = Files((str(folder),), Reading())
        # cursors hold them too: a loop over a source that nobody else holds goes on
        weakref.finalize(files, shutil.rmtree, scratch, ignore_errors=True)
        self._clean(folder)
        return files
