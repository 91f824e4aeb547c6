"""Datasets of the catalogue as streams: their files, the rule that makes documents of them, their slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pylm.data.streaming.document import Document
from pylm.data.streaming.files import Files, Reading
from pylm.data.streaming.several import Joined
from pylm.data.streaming.steps import Limit, Mapped, Taken
from pylm.data.streaming.stream import Cursor, State, Stream, foreign_state, taken_up
from pylm.errors import UsageError
from pylm.wording import call

if TYPE_CHECKING:
    from pylm.data.catalogue import Entry

__all__ = ["dataset_of"]


def dataset_of(name: str, reading: Reading) -> Stream:
    """Return the stream of a dataset by its name in the catalogue; nothing is fetched."""
    from pylm.data.catalogue import entry

    one = entry(name)
    if one.kind == "shards":
        got = f"{call('data get', one.name, out='DIR')}, then {call('train', data='DIR')}"
        raise UsageError(f"{one.name} is shards of tokens, not text", got)
    stream = _whole(one, reading)
    return stream if one.tokens is None else Taken(stream, Limit(tokens=one.tokens))


def _whole(one: Entry, reading: Reading) -> Stream:
    if one.of:
        return Joined(tuple(dataset_of(name, reading) for name in one.of))
    own: dict[str, Any] = {key: value for key, value in one.reading.items() if getattr(reading, key) == USUAL[key]}
    name = f"data:{replace(one, tokens=None).full_name}"
    reading = replace(reading, **own)
    stream: Stream = Files((name,), reading)
    if any(part.paths.value for part in one.parts):
        stream = OneByOne(name, reading)
    return stream if one.rule is None else Mapped(stream, _Rule(one.rule))


USUAL = {each.name: each.default for each in fields(Reading)}


@dataclass(frozen=True)
class _Rule:
    """What the catalogue makes of the text of a file."""

    name: str

    def __call__(self, document: Document) -> str | None:
        from pylm.data.catalogue.rules import RULES

        return RULES[self.name].function(document.text, document.meta)


@dataclass(frozen=True)
class OneByOne(Stream):
    """The files of a dataset that has so many that each is asked for when its turn comes."""

    dataset: str
    reading: Reading
    with_meta: bool = True

    @property
    def name(self) -> str:
        """How a sentence calls it."""
        return self.dataset

    def without_meta(self) -> Stream:
        """Return the same documents for whoever wants nothing but their texts."""
        return replace(self, with_meta=False)

    def cursor(self, state: State | None = None) -> Cursor:
        """Return a cursor at the beginning, or in one of the files."""
        number, inside = (0, None) if state is None else taken_up(state, "one by one", "file", "inside")
        return _OneByOneCursor(self, number, inside)

    @cached_property
    def files(self) -> Sequence[Any]:
        """The files, none of which is opened before it is taken."""
        from pylm.data.streaming.elsewhere import files_of

        return files_of(self.dataset, self.reading)


class _OneByOneCursor(Cursor):
    def __init__(self, several: OneByOne, number: int, inside: State | None) -> None:
        self._several = several
        self._number = number
        self._inside = inside
        self._current: Cursor | None = None

    def __next__(self) -> Document:
        files = self._several.files
        while self._number < len(files):
            if self._current is None:
                one = Files((files[self._number],), self._several.reading, self._several.with_meta)
                self._current = one.cursor(self._inside)
            for document in self._current:
                return document
            self._number, self._inside, self._current = self._number + 1, None, None
        if self._number > len(files):
            raise foreign_state()
        raise StopIteration

    def state(self) -> State:
        inside = self._inside if self._current is None else self._current.state()
        return {"kind": "one by one", "file": self._number, "inside": inside}
