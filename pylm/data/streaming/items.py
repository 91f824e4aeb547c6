"""The documents of a Python iterable: rows of a data set, a column of a data frame, strings that a function yields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from pylm.data.streaming.document import Document, document_of
from pylm.data.streaming.stream import Cursor, State, Stream, taken_up
from pylm.errors import DataError, UsageError

__all__ = ["Items"]


class Items(Stream):
    """The items of an iterable, or of what a function returns each time that it is called."""

    def __init__(self, iterable: Iterable[Any] | Callable[[], Any], field: str, name: str) -> None:
        """Keep it unread; `field` is the key of a row that holds the text."""
        self._iterable: Any = iterable
        self.field = field
        self._name = name
        self._is_read = False

    @property
    def name(self) -> str:
        """How a sentence calls it."""
        return self._name

    def cursor(self, state: State | None = None) -> Cursor:
        """Return a cursor; what can be iterated once has one only."""
        first = 0 if state is None else taken_up(state, "items", "item")[0]
        return _ItemsCursor(self, first)

    def iterated(self, first: int) -> Iterator[Any]:
        """Return an iterator over the items from one on."""
        # a function has no __iter__, and what it returns must
        iterable: Any = self._iterable if hasattr(self._iterable, "__iter__") else self._iterable()
        if not hasattr(iterable, "__iter__"):
            raise UsageError(
                f"this {self._name} returned no iterable but {type(iterable).__name__}",
                "let it return an iterable of strings or rows, or yield them",
            )
        # a data set of datasets knows a shorter way to its later rows
        if first and type(iterable).__module__.startswith("datasets.") and hasattr(iterable, "skip"):
            return iter(iterable.skip(first))
        iterator = iter(iterable)
        if iterator is self._iterable:
            if self._is_read:
                raise DataError(
                    f"this {self._name} can be iterated once, and that was done",
                    "give a function that makes a new one each time it is called: lambda: …",
                )
            self._is_read = True
        return islice(iterator, first, None) if first else iterator


class _ItemsCursor(Cursor):
    def __init__(self, items: Items, item: int) -> None:
        self._items = items
        self._iterator: Iterator[Any] | None = None
        self._item = item

    def __next__(self) -> Document:
        if self._iterator is None:
            self._iterator = self._items.iterated(self._item)
        for item in self._iterator:
            self._item += 1
            place = f"item {self._item - 1} of this {self._items.name}"
            if (document := document_of(item, self._items.field, place)) is not None:
                return document
        raise StopIteration

    def state(self) -> State:
        return {"kind": "items", "item": self._item}
