"""What is said on stderr is for whoever looks; where nobody does any more (`2>&1 | head`), the work goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

__all__ = ["enduring_stderr", "open_streams"]

STREAMS = ("stdin", "stdout", "stderr")


@contextmanager
def open_streams() -> Iterator[None]:
    """Open to nowhere the streams that the caller closed (`pylm train … >&- 2>&-`).

    What is said there is lost, and nothing else.

    Their numbers are taken too: else a file that is opened later, a checkpoint's, gets one, and whatever libraries
    write to stderr goes into it. A stdin that is closed stays None: who wants to read says so.
    """
    closed = [(number, name) for number, name in enumerate(STREAMS) if getattr(sys, name) is None]
    for number, _ in closed:
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
    silenced = [name for number, name in closed if number]
    for name in silenced:  # once all the numbers are taken
        setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
    try:
        yield
    finally:
        for name in silenced:
            getattr(sys, name).close()
            setattr(sys, name, None)


@contextmanager
def enduring_stderr() -> Iterator[None]:
    """Let writing to stderr never fail: a closed pipe, a terminal that is gone, a full disk under a log."""
    before = sys.stderr
    if before is None:  # closed by the caller: `pylm … 2>&-`
        yield
        return
    sys.stderr = cast(TextIO, _Enduring(before))
    try:
        yield
    finally:
        sys.stderr = before


class _Enduring:
    """A stream that swallows what it can no longer write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._broken = False

    def write(self, text: str) -> int:
        self._tried(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for text in lines:
            self.write(text)

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def _tried(self, call: Any) -> None:
        if self._broken:
            return
        try:
            call()
        except OSError:
            self._broken = True
            try:
                # what waits in the buffer goes there too, and whatever writes past Python
                with open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), self._stream.fileno())
            except (OSError, ValueError):
                pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
