"""stdin as a source: it is read once, and kept in a file for whoever reads it again."""

from __future__ import annotations

import json
import shutil
import sys
from typing import IO, BinaryIO

from pylm.errors import UsageError

__all__ = ["copied", "is_json_object", "standard_input"]

FIRST_LINE_BYTES = 1 << 20


def standard_input() -> BinaryIO:
    """Return stdin's bytes; a caller may have closed it: `pylm … <&-`."""
    if sys.stdin is None:
        raise UsageError("stdin is closed", "name a file, or pipe something in")
    return sys.stdin.buffer


def copied(to: IO[bytes]) -> bytes:
    """Copy stdin to a file, and return its first line."""
    shutil.copyfileobj(standard_input(), to, 1 << 20)
    to.flush()
    to.seek(0)
    return to.readline(FIRST_LINE_BYTES)


def is_json_object(line: bytes) -> bool:
    """Say whether a first line is one of jsonl."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
