"""Several streams as one: one after another, or mixed by weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pylm.data.streaming.document import Document
from pylm.data.streaming.stream import Cursor, State, Stream, foreign_state, taken_up

__all__ = ["Joined", "Mixed"]


@dataclass(frozen=True)
class _Several(Stream):
    """What is made of several streams."""

    streams: tuple[Stream, ...]

    @property
    def name(self) -> str:
        """How a sentence calls it."""
        return ", ".join(stream.name for stream in self.streams)

    def without_meta(self) -> Stream:
        """Return the same documents for whoever wants nothing but their texts."""
        return replace(self, streams=tuple(stream.without_meta() for stream in self.streams))


@dataclass(frozen=True)
class Joined(_Several):
    """Streams one after another."""

    def cursor(self, state: State | None = None) -> Cursor:
        """Return a cursor, which opens each stream when its turn comes."""
        number, inside = (0, None) if state is None else taken_up(state, "joined", "part", "inside")
        if number not in range(len(self.streams)):
            raise foreign_state()
        return _JoinedCursor(self.streams, number, inside)


class _JoinedCursor(Cursor):
    def __init__(self, streams: Sequence[Stream], number: int, inside: State | None) -> None:
        self._streams = streams
        self._number = number
        self._current = streams[number].cursor(inside)

    def __next__(self) -> Document:
        while True:
            for document in self._current:
                return document
            if self._number + 1 == len(self._streams):
                raise StopIteration
            self._number += 1
            self._current = self._streams[self._number].cursor()

    def state(self) -> State:
        return {"kind": "joined", "part": self._number, "inside": self._current.state()}


@dataclass(frozen=True)
class Mixed(_Several):
    """Streams whose shares of the text are as their weights, at every point of it.

    The next document is of the stream that is furthest behind its share, by bytes of text. It ends where the stream
    ends whose turn it is, for the shares could not be kept beyond that.
    """

    weights: tuple[float, ...]

    def cursor(self, state: State | None = None) -> Cursor:
        """Return a cursor over all of them."""
        if state is None:
            return _MixedCursor([stream.cursor() for stream in self.streams], self.weights, [0] * len(self.streams))
        given, inside = taken_up(state, "mixed", "given", "inside")
        if not len(given) == len(inside) == len(self.streams):
            raise foreign_state()
        cursors = [stream.cursor(each) for stream, each in zip(self.streams, inside, strict=True)]
        return _MixedCursor(cursors, self.weights, list(given))


class _MixedCursor(Cursor):
    def __init__(self, cursors: list[Cursor], weights: Sequence[float], given: list[int]) -> None:
        self._cursors = cursors
        self._weights = weights
        self._given = given  # bytes of each

    def __next__(self) -> Document:
        shares = [given / weight for given, weight in zip(self._given, self._weights, strict=True)]
        turn = shares.index(min(shares))
        document = next(self._cursors[turn])
        # an empty document counts too: or a stream of them would be furthest behind for ever
        self._given[turn] += max(len(document.text.encode("utf-8", "surrogatepass")), 1)
        return document

    def state(self) -> State:
        return {"kind": "mixed", "given": list(self._given), "inside": [cursor.state() for cursor in self._cursors]}
