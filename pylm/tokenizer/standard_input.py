"""stdin as a source: it is read once, and kept in a file for whoever reads it again."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, BinaryIO

from pylm.errors import UsageError

__all__ = ["FIRST_LINE_BYTES", "copied", "is_json_object", "spooled", "standard_input"]

FIRST_LINE_BYTES = 1 << 20


def standard_input() -> BinaryIO:
    """Return stdin's bytes; a caller may have closed it: `pylm … <&-`."""
    if sys.stdin is None:
        raise UsageError("stdin is closed", "name a file, or pipe something in")
    return sys.stdin.buffer


@contextmanager
def spooled(sources: Sequence[str]) -> Iterator[tuple[str | None, bool]]:
    """Yield the file that stdin was written to, and whether it holds jsonl; (None, False) where `-` is no source."""
    if "-" not in sources:
        yield None, False
        return
    file, is_jsonl = copied()
    with file:
        yield file.name, is_jsonl


def copied() -> tuple[IO[bytes], bool]:
    """Return a file that stdin was copied to, gone when it is closed, and whether it holds jsonl."""
    file = tempfile.NamedTemporaryFile(prefix="pylm-stdin-")
    shutil.copyfileobj(standard_input(), file, 1 << 20)
    file.flush()
    file.seek(0)
    return file, is_json_object(file.readline(FIRST_LINE_BYTES))


def is_json_object(line: bytes) -> bool:
    """Say whether a first line is one of jsonl."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
