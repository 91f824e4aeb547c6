"""A file of a test to its items."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from pylm.data.tasks import requests
from pylm.data.tasks.forms import Columns, item_of
from pylm.data.tasks.items import Item
from pylm.data.tasks.rows import rows
from pylm.errors import DataError

__all__ = ["Columns", "read"]

DEFAULT = Columns()


def read(path: str | os.PathLike[str], columns: Columns = DEFAULT) -> Iterator[Item]:
    """Yield the items of a file: jsonl, gzipped or not, csv, tsv or parquet.

    ::

        for item in read("arc_easy.jsonl.gz"):
            print(item.context, item.choices, item.answer)

    Args:
        path: The file.
        columns: What a file with names of its own calls prompt, choices and answer.

    Raises:
        DataError: the file or a row of it is not what it should be; the sentence names the row.
    """
    placed = rows(Path(path), columns.prompt)
    first = next(placed, None)
    if first is None:
        raise DataError(f"{os.fspath(path)} has no item")
    every = chain([first], placed)
    if requests.are_requests(first[1]):
        yield from requests.items(every)
    else:
        for number, (place, row) in enumerate(every):
            yield item_of(row, number, columns, place)
