"""What every source is inside: a stream, and a cursor that reads it and can say where it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pylm.data.streaming.document import Document
from pylm.errors import DataError

__all__ = ["Cursor", "State", "Stream", "cursor_at", "foreign_state", "skipped", "taken_up"]

# Where a cursor is: plain data, which json can write.
State = dict[str, Any]


class Cursor(Iterator[Document]):
    """Gives documents one after another. After the last it stays at the end."""

    @abstractmethod
    def state(self) -> State:
        """Return where it is: a cursor that begins there gives what this one would give next."""


class Stream(ABC):
    """Documents in an order that is the same each time."""

    @abstractmethod
    def cursor(self, state: State | None = None) -> Cursor:
        """Return a cursor at the beginning, or at a state of an earlier one."""

    @property
    @abstractmethod
    def name(self) -> str:
        """How a sentence calls it."""

    def without_meta(self) -> Stream:
        """Return the same documents for whoever wants nothing but their texts: less may be read for them."""
        return self


def taken_up(state: State, kind: str, *keys: str) -> list[Any]:
    """Return the values of a state by their keys; refuse one that another kind of source gave."""
    if not isinstance(state, dict) or state.get("kind") != kind or any(key not in state for key in keys):
        raise foreign_state()
    values = [state[key] for key in keys]
    if not all(value is None or isinstance(value, dict | list) or _is_count(value) for value in values):
        raise foreign_state()
    return values


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def foreign_state() -> DataError:
    """Return the error for a state that this source did not give."""
    return DataError(
        "this position is of another source", "give what state() of a source that was made the same way returned"
    )


def skipped(state: State, documents: int) -> State:
    """Return the state so many documents behind another."""
    return {"kind": "behind", "documents": documents, "inside": state} if documents else state


def cursor_at(stream: Stream, state: State | None) -> Cursor:
    """Return a cursor at a state, which may be one that `skipped` made."""
    if state is None or not isinstance(state, dict) or state.get("kind") != "behind":
        return stream.cursor(state)
    documents, inside = taken_up(state, "behind", "documents", "inside")
    cursor = stream.cursor(inside)
    for _ in islice(cursor, documents):
        pass
    return cursor
