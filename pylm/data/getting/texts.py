"""The documents of a dataset's files, batch by batch, with the place where reading goes on after each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from pylm.data.catalogue import Entry
from pylm.data.catalogue.rules import RULES
from pylm.errors import PylmError
from pylm.tokenizer.native import parameters_named
from pylm.wording import param

if TYPE_CHECKING:
    from pylm._rust import Documents

__all__ = ["Batch", "batches"]

Position = Mapping[str, int]


class Batch(NamedTuple):
    """About a megabyte of documents.

    Attributes:
        texts: Their texts.
        counts: The publisher's count of each one's tokens; None where there is none.
        rows: The number of each among the documents that were read from `begins` on.
        file: Which of the files they are of.
        name: What that file is called.
        begins: Where in that file the batch begins.
        ends: Where in that file reading goes on.
        read: How many documents were read there, those left out by a rule among them.
    """

    texts: Sequence[str]
    counts: Sequence[int | None]
    rows: Sequence[int]
    file: int
    name: str
    begins: Position
    ends: Position
    read: int


def batches(
    one: Entry, files: Sequence[Any], *, counted: bool, start: tuple[int, Position | None] = (0, None)
) -> Iterator[Batch]:
    """Yield the documents of files, each opened when its turn comes.

    Args:
        one: The dataset, which says how its files are read.
        files: Paths, or files that lie elsewhere.
        counted: Whether the publisher's counts are read.
        start: The number of a file and where in it reading goes on.
    """
    from pylm import _rust

    reading: dict[str, Any] = dict(one.reading)
    if counted and one.token_count:
        reading["extra"] = one.token_count
    rule = RULES[one.rule] if one.rule else None
    if rule is not None and rule.needs_row:
        reading["meta"] = True
    for number in range(start[0], len(files)):
        position = start[1] if number == start[0] else None
        with _column_named():
            file = files[number]
            file = os.fspath(file) if isinstance(file, os.PathLike) else file
            reader = _rust.Documents([file], start=None if position is None else dict(position), **reading)
        begins = reader.position
        while (read := _next(reader)) is not None:
            counts = reader.extra or [None] * len(read)
            made = [text if rule is None else rule.function(text, json.loads(meta or "{}")) for text, _, meta in read]
            kept = [row for row, text in enumerate(made) if text is not None]
            texts = [text for text in made if text is not None]
            place = (number, reader.source, begins, reader.position, len(read))
            yield Batch(texts, [counts[row] for row in kept], kept, *place)
            begins = reader.position


def _next(reader: Documents) -> list[tuple[str, str | None, str | None]] | None:
    with _column_named():
        return next(reader, None)


@contextmanager
def _column_named() -> Iterator[None]:
    """Say how a column is chosen here: in the name of what is got, by no option."""
    try:
        with parameters_named():
            yield
    except PylmError as error:
        message, hint = error.marked
        if hint is None or (option := f"with {param('column')}") not in hint:
            raise
        raise type(error)(message, hint.replace(option, "as hub:ORG/NAME:::COLUMN")) from None
