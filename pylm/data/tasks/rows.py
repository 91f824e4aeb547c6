"""The rows of a file of a test, each with its place as an error names it."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pylm.data.half_characters import refuse_half_characters
from pylm.data.streaming.files import Files, Reading
from pylm.errors import DataError, PylmError
from pylm.wording import param

__all__ = ["TABLES", "rows"]

LINES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")

HALF = re.compile(rb"\\u[dD][89a-fA-F]")  # what JSON writes a character beyond 16 bits with, in pairs

Row = Mapping[str, Any]


def rows(path: Path, column: str) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a file of lines or of a table, of which `column` is the one that must be there.

    Raises:
        DataError: the file is of no kind that is read here, or a line of it is no object.
    """
    name = path.name.lower()
    if name.endswith(TABLES):
        yield from _of_table(path, column)
    elif name.endswith(LINES):
        yield from _of_lines(path)
    else:
        raise DataError(f"{path} is no file of a test", f"such a file ends in {', '.join(LINES[:2] + TABLES)}")


def _of_lines(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path} line {number}", _object(line, f"{path} line {number}")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _object(line: bytes, place: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise DataError(f"{place} is no JSON object", "each line of a test is one item: {…}")
    if HALF.search(line):
        refuse_half_characters(row, place)
    return row


def _of_table(path: Path, column: str) -> Iterator[tuple[str, Row]]:
    documents = Files((str(path),), Reading(column=column)).cursor()
    try:
        for number, document in enumerate(documents, 1):
            named = {} if document.id is None else {"id": document.id}
            yield f"{path} row {number}", {column: document.text, **named, **document.meta}
    except PylmError as error:
        said, hint = error.marked
        if hint is None or param("column") not in hint:
            raise
        raise type(error)(said, hint.partition("; ")[2] or None) from None  # nobody who reads tests has that parameter
