"""The items of tests, as what looks for them in text takes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import DataError

if TYPE_CHECKING:
    from pylm.data.tasks import Item

__all__ = ["Row", "items_of"]

SUITES = (".yaml", ".yml")

Row = tuple[str, str, str, str]  # task, id, question, answer


def items_of(tests: Sequence[str]) -> tuple[list[dict[str, Any]], list[Row]]:
    """Return the tests of these names or files with how many items each has, and the items themselves."""
    told, rows = [], []
    for name in tests:
        own = list(_rows(name))
        digest = hashlib.sha256(json.dumps(own, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
        told.append({"name": name, "items": len({(task, item) for task, item, *_ in own}), "sha256": digest})
        rows += own
    return told, rows


def _rows(name: str) -> Iterator[Row]:
    from pylm.data.tasks import read

    for task, file in _files(name):
        for item in read(file):
            for question, answer in _asked(item):
                yield task, item.id, question, answer


def _files(name: str) -> Iterator[tuple[str, Path]]:
    """Give the files of a test, or of every task of a suite, each with the name that the report calls it by."""
    from pylm.data.tasks import find, suite
    from pylm.data.tasks.finding import stem

    if not name.lower().endswith(SUITES) or not Path(name).is_file():
        found = find(name)
        own = len(found.files) > 1  # items of several files may be called by the same numbers
        yield from ((f"{found.name}/{stem(file)}" if own else found.name, file) for file in found.files)
        return
    tasks = suite(name)
    missing = [task.uri for task in tasks if task.file is None]
    if missing:
        hint = "they lie where the suite says, or beside it; a test that is left out is named by its own file"
        raise DataError(f"{name} names files that are not there: {', '.join(missing)}", hint)
    yield from ((task.name, task.file) for task in tasks if task.file is not None)


def _asked(item: Item) -> Iterator[tuple[str, str]]:
    """Give the question as it stands without examples, with each text that is right."""
    question = item.question or item.context
    for answer in dict.fromkeys((item.answer, *item.answers)):
        yield question, answer
