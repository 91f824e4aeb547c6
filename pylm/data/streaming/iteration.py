"""A source: what `pylm.data.source` returns, to be iterated, cut, shuffled, mapped and taken up again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from pylm.data.streaming.document import Document
from pylm.data.streaming.steps import Begun, Limit, Mapped, Shuffled, Taken
from pylm.data.streaming.stream import Cursor, State, Stream, cursor_at, skipped
from pylm.errors import UsageError

if TYPE_CHECKING:
    from asyncio import Future

    from pylm.tokenizer import Tokenizer

__all__ = ["Source"]

AHEAD = 64  # documents that an asynchronous reader fetches at a time, in a thread


class Source:
    """Documents in an order that is the same each time, to be iterated again and again, also by `async for`.

    `take`, `shuffle` and `map` return other sources and read nothing. `state` says where the newest iteration is, in
    plain data; the next one begins where `seek` says, with the very document that would have come.
    """

    def __init__(self, stream: Stream) -> None:
        """Wrap a stream; `pylm.data.source` makes them."""
        self._stream = stream
        self._begin: State | None = None
        self._newest: Cursor | AsyncReader | None = None

    @property
    def stream(self) -> Stream:
        """What is iterated, from where `seek` said on."""
        return self._stream if self._begin is None else Begun(self._stream, self._begin)

    def __iter__(self) -> Cursor:
        """Return an iterator from the beginning, or once from where `seek` said; it has a `state` of its own."""
        self._newest = cursor = self._cursor()
        return cursor

    def __aiter__(self) -> AsyncReader:
        """Return an asynchronous iterator, which waits for documents in a thread."""
        self._newest = reader = AsyncReader(self._cursor())
        return reader

    def _cursor(self) -> Cursor:
        cursor = cursor_at(self._stream, self._begin)
        self._begin = None
        return cursor

    def take(
        self,
        documents: int | str | None = None,
        *,
        tokens: int | str | None = None,
        bytes: int | str | None = None,
        tokenizer: Tokenizer | str | None = None,
    ) -> Source:
        """Return the first documents, up to the one that reaches the limit.

        ::

            pylm.data.source("data:openwebtext").take(tokens="10M")

        Args:
            documents: How many.
            tokens: How many tokens, with one more for the end of each text.
            bytes: How many bytes of text in UTF-8.
            tokenizer: What counts the tokens: a tokenizer, or what `Tokenizer.load` takes; GPT-2's if not given.
        """
        return Source(Taken(self.stream, Limit.of(documents, bytes, tokens, tokenizer)))

    def shuffle(self, seed: int = 0, buffer: int = 10_000) -> Source:
        """Return the same documents in another order, the same for the same seed.

        Each `buffer` documents are held in memory, and given in an order of their own: a document moves no further.
        """
        for name, value, least in (("seed", seed, None), ("buffer", buffer, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
                raise UsageError(f"{name} is {value!r}", "give a whole number, such as 10_000")
        return Source(Shuffled(self.stream, seed, buffer))

    def map(self, function: Callable[[Document], Document | str | None]) -> Source:
        """Return what a function makes of each document: another text, a Document, or None to leave it out."""
        if not callable(function):
            raise UsageError(f"{function!r} cannot be called", "give a function that takes a document")
        return Source(Mapped(self.stream, function))

    def count(self) -> int:
        """Return how many documents there are, by reading them."""
        return sum(1 for _ in self.stream.without_meta().cursor())

    def state(self) -> State:
        """Return where the newest iteration is, which json can write: file, row group and row, or a count of items."""
        if self._begin is not None:
            return self._begin
        return self._stream.cursor().state() if self._newest is None else self._newest.state()

    def seek(self, state: State) -> Source:
        """Let the next iteration begin at a state of a source that was made the same way, and return this source."""
        self._begin = state
        return self

    def __repr__(self) -> str:
        """Say what is read."""
        return f"<pylm.data.Source of {self._stream.name}>"


class AsyncReader(AsyncIterator[Document]):
    """An iteration of a source that lets others run while it waits."""

    def __init__(self, cursor: Cursor) -> None:
        """Begin where a cursor is."""
        self._cursor = cursor
        self._fetched = _Fetched(cursor.state(), [], None)
        self._given = 0
        self._fetching: Future[_Fetched] | None = None

    async def __anext__(self) -> Document:
        """Return the next document."""
        while self._given == len(self._fetched.documents):
            if self._fetched.error is not None:
                raise self._fetched.error
            if self._fetched.ended:
                raise StopAsyncIteration
            await self._fetch_more()
        self._given += 1
        return self._fetched.documents[self._given - 1]

    async def _fetch_more(self) -> None:
        import asyncio

        if self._fetching is None:
            self._fetching = asyncio.ensure_future(asyncio.to_thread(self._fetch))
        fetching = self._fetching
        # the thread goes on where whoever waits is cancelled: what it reads is for the next who asks
        fetched = await asyncio.shield(fetching)
        if fetching is self._fetching:
            self._fetched, self._given, self._fetching = fetched, 0, None

    def _fetch(self) -> _Fetched:
        fetched = _Fetched(self._cursor.state(), [], None)
        try:
            fetched.documents.extend(islice(self._cursor, AHEAD))
        except Exception as error:
            return fetched._replace(error=error)
        return fetched._replace(ended=not fetched.documents)

    def state(self) -> State:
        """Return where it is, for `Source.seek`."""
        return skipped(self._fetched.begun, self._given)


class _Fetched(NamedTuple):
    begun: State  # where the cursor was before these
    documents: list[Document]
    error: Exception | None  # what came in place of more
    ended: bool = False  # there is nothing more
