"""The items of tests, as what looks for them in text takes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pylm.data.tasks import Item

__all__ = ["Row", "items_of"]

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
    from pylm.data.tasks import find, read

    found = find(name)
    for file in found.files:
        for item in read(file):
            for question, answer in _asked(item):
                yield found.name, item.id, question, answer


def _asked(item: Item) -> Iterator[tuple[str, str]]:
    """Give the question as it stands without examples, with each text that is right."""
    question = item.question or item.context
    for answer in dict.fromkeys((item.answer, *item.answers)):
        yield question, answer
