"""What is made of one stream: some of it, another order, other texts."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from pylm.data.streaming.document import Document
from pylm.data.streaming.stream import Cursor, State, Stream, cursor_at, taken_up
from pylm.errors import UsageError

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer

__all__ = ["Begun", "Limit", "Mapped", "Shuffled", "Taken"]


@dataclass(frozen=True)
class Limit:
    """How much is taken: of one of the three, up to the document that reaches it.

    Attributes:
        documents: So many documents.
        bytes: So many bytes of text in UTF-8.
        tokens: So many tokens, with one more for the end of each text.
        tokenizer: What counts the tokens: a tokenizer, or what `Tokenizer.load` takes.
        allow_special: Special tokens that count as one where they stand in a text.
    """

    documents: int | None = None
    bytes: int | None = None
    tokens: int | None = None
    tokenizer: Tokenizer | str = "gpt2"
    allow_special: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, documents: Any = None, bytes: Any = None, tokens: Any = None, tokenizer: Tokenizer | str | None = None
    ) -> Limit:
        """Return the limit of one amount, which may be written as people do: `100M`."""
        amounts = {"documents": documents, "bytes": bytes, "tokens": tokens}
        given: dict[str, Any] = {name: _amount(name, amount) for name, amount in amounts.items() if amount is not None}
        if len(given) != 1:
            raise UsageError(
                "a limit is a number of documents, of bytes or of tokens", "give one of the three: tokens=1_000_000"
            )
        if tokenizer is not None and tokens is None:
            raise UsageError("a tokenizer counts tokens, and no number of tokens is given", "leave the tokenizer out")
        return cls(**given, tokenizer="gpt2" if tokenizer is None else tokenizer)

    @property
    def amount(self) -> int:
        """Of whatever is counted."""
        return self.documents or self.bytes or self.tokens or 0

    def measure(self) -> Callable[[str], int]:
        """Return what says how much of the limit a text takes."""
        if self.documents is not None:
            return lambda text: 1
        if self.bytes is not None:
            return lambda text: len(text.encode("utf-8", "surrogatepass"))
        tokenizer = self.counting()
        allowed = self.allow_special or "none"
        return lambda text: len(tokenizer.encode_array(text, allowed)) + 1

    def counting(self) -> Tokenizer:
        """Return the tokenizer that tokens are counted by."""
        from pylm.tokenizer import Tokenizer

        return self.tokenizer if isinstance(self.tokenizer, Tokenizer) else Tokenizer.load(self.tokenizer)


def _amount(name: str, amount: Any) -> int:
    if isinstance(amount, str):
        from pylm.config.units import parse_bytes, parse_count

        try:
            amount = parse_bytes(amount) if name == "bytes" else parse_count(amount)
        except ValueError as error:
            raise UsageError(f"{name}: {error}", "give a whole number, such as 1_000_000 or '1M'") from None
    if isinstance(amount, bool) or not isinstance(amount, int) or amount < 1:
        raise UsageError(f"{name} is {amount!r}", "give a whole number of at least 1, such as 1_000_000 or '1M'")
    return amount


@dataclass(frozen=True)
class _Step(Stream):
    """What is made of a stream."""

    stream: Stream

    @property
    def name(self) -> str:
        """How a sentence calls it."""
        return self.stream.name

    def without_meta(self) -> Stream:
        """Return the same documents for whoever wants nothing but their texts."""
        return replace(self, stream=self.stream.without_meta())


@dataclass(frozen=True)
class Taken(_Step):
    """The first documents of a stream, up to a limit."""

    limit: Limit

    def cursor(self, state: State | None = None) -> Cursor:
        """Return a cursor that ends where the limit is reached."""
        given, inside = (0, None) if state is None else taken_up(state, "taken", "given", "inside")
        return _TakenCursor(self, self.stream.cursor(inside), given)


class _TakenCursor(Cursor):
    def __init__(self, taken: Taken, inside: Cursor, given: int) -> None:
        self._limit = taken.limit
        self._measure: Callable[[str], int] | None = None  # a tokenizer is loaded when the first text is asked for
        self._inside = inside
        self._given = given

    def __next__(self) -> Document:
        if self._given >= self._limit.amount:
            raise StopIteration
        if self._measure is None:
            self._measure = self._limit.measure()
        document = next(self._inside)
        self._given += self._measure(document.text)
        return document

    def state(self) -> State:
        return {"kind": "taken", "given": self._given, "inside": self._inside.state()}


@dataclass(frozen=True)
class Mapped(_Step):
    """What a function makes of each document: another text, another document, or None to leave it out."""

    function: Callable[[Document], Document | str | None]

    def cursor(self, state: State | None = None) -> Cursor:
        """Return a cursor that calls the function as it goes."""
        inside = None if state is None else taken_up(state, "mapped", "inside")[0]
        return _MappedCursor(self, self.stream.cursor(inside))

    def without_meta(self) -> Stream:
        """Return the same: its function may look at what lies beside a text."""
        return self


class _MappedCursor(Cursor):
    def __init__(self, mapped: Mapped, inside: Cursor) -> None:
        self._function = mapped.function
        self._inside = inside
        self._begun: State | None = None  # before the document that the function is at, or failed at

    def __next__(self) -> Document:
        while True:
            self._begun = None
            before = self._inside.state()
            document = next(self._inside)
            self._begun = before
            made: Any = self._function(document)
            if made is None:
                continue
            if not isinstance(made, Document | str):
                raise UsageError(
                    f"the function of map returned {type(made).__name__}",
                    "let it return a string, a Document, or None to leave the document out",
                )
            self._begun = None
            return made if isinstance(made, Document) else document._replace(text=made)

    def state(self) -> State:
        inside = self._inside.state() if self._begun is None else self._begun
        return {"kind": "mapped", "inside": inside}


@dataclass(frozen=True)
class Shuffled(_Step):
    """Each `buffer` documents in an order of their own.

    A window is read, given out in its order, and then the next is read: so where a cursor is can be said by where its
    window began and how many of it were given, without the documents themselves.
    """

    seed: int
    buffer: int

    def cursor(self, state: State | None = None) -> Cursor:
        """Return a cursor, which reads again the window that a state lies in."""
        if state is None:
            return _ShuffledCursor(self, self.stream.cursor(), 0, 0)
        window, given, inside = taken_up(state, "shuffled", "window", "given", "inside")
        return _ShuffledCursor(self, self.stream.cursor(inside), window, given)


class _ShuffledCursor(Cursor):
    def __init__(self, shuffled: Shuffled, inside: Cursor, window: int, given: int) -> None:
        self._shuffled = shuffled
        self._inside = inside
        self._window = window
        self._begun = inside.state()
        self._documents: list[Document] = []
        self._given = 0
        if given:
            self._read()
            self._given = given

    def __next__(self) -> Document:
        if self._given >= len(self._documents):
            self._read()
            if not self._documents:
                raise StopIteration
        document = self._documents[self._given]
        self._given += 1
        return document

    def _read(self) -> None:
        begun = self._inside.state()
        # where this fails the state stays that of the window before
        documents = list(islice(self._inside, self._shuffled.buffer))
        self._window += bool(self._documents)
        self._begun, self._documents, self._given = begun, documents, 0
        drawn = random.Random(f"{self._shuffled.seed}, {self._window}")
        # written out, as random's own shuffle may change with Python: only random() is promised to stay
        for last in range(len(self._documents) - 1, 0, -1):
            other = int(drawn.random() * (last + 1))
            self._documents[last], self._documents[other] = self._documents[other], self._documents[last]

    def state(self) -> State:
        return {"kind": "shuffled", "window": self._window, "given": self._given, "inside": self._begun}


@dataclass(frozen=True)
class Begun(_Step):
    """What follows a state of a stream: what a source that was sought is, for whatever is made of it."""

    begin: State

    def cursor(self, state: State | None = None) -> Cursor:
        """Return a cursor that begins there."""
        return cursor_at(self.stream, self.begin if state is None else state)
