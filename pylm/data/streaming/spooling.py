"""Documents that no file holds, written down for those who read a text more than once and by parts of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pylm.data.streaming.document import Document
from pylm.data.streaming.stream import Stream

__all__ = ["Spooled", "spooled"]

REPORTED = 1 << 22  # bytes between two reports


@dataclass(frozen=True)
class Spooled:
    """A file of jsonl that goes by its content, not by where it lies: the same texts are the same source again.

    Attributes:
        name: How a sentence calls the source.
        file: Where it lies.
        size: Its bytes.
        identity: The sha256 of its content.
        path: What tells by its suffix how it is read.
    """

    name: str
    file: Path
    size: int
    identity: str
    path: str = "documents.jsonl"

    def local(self) -> Path:
        """Return the file, which whoever can reads by itself."""
        return self.file

    def read(self, start: int, length: int) -> bytes:
        """Return these bytes of it."""
        with self.file.open("rb") as file:
            return os.pread(file.fileno(), length, start)


def spooled(
    stream: Stream,
    file: Path,
    field: str,
    report: Callable[[int], None] = lambda written: None,
    *,
    rows: bool = False,
) -> Spooled:
    """Write the documents of a stream as jsonl, each a row with its text under `field`.

    Args:
        stream: What is read.
        file: To write.
        field: The key of the text, which whoever reads the file is told too.
        report: Told how many bytes are written, now and then.
        rows: Whether what else a source says of a document is written beside its text.
    """
    hashed, size, reported = hashlib.sha256(), 0, 0
    with file.open("wb") as to:
        for document in (stream if rows else stream.without_meta()).cursor():
            line = _line(document, field, rows)
            to.write(line)
            hashed.update(line)
            size += len(line)
            if size - reported >= REPORTED:
                report(reported := size)
    return Spooled(stream.name, file, size, hashed.hexdigest())


def _line(document: Document, field: str, rows: bool) -> bytes:
    row: dict[str, Any] = {field: document.text}
    if rows:
        own = {} if document.id is None else {"id": document.id}
        row |= {key: value for key, value in {**own, **document.meta}.items() if key != field}
    try:
        return json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n"
    except UnicodeEncodeError:  # half of a character: whoever reads the file says what is done with it
        return json.dumps(row, default=str).encode() + b"\n"
