"""What `pylm.generate` returns: pieces as they are made, and the texts that they make up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Literal

from pylm.errors import UsageError
from pylm.generation.session import Piece

__all__ = ["Written"]

SHOWN_CHARACTERS = 60  # a repr shows that many characters


class Written(Iterator[Piece]):
    """An iterator over pieces of text, made as they are asked for.

    Iterate over it for a piece a token; `text()` makes what is left and returns the whole, `texts()` where several
    prompts or samples were asked for. `close()`, or `with`, ends it early.
    """

    def __init__(self, pieces: Iterator[Piece], counts: Sequence[int], engine: str) -> None:
        """Start from the pieces of a call, how many samples each prompt has, and what computes them."""
        self._pieces = pieces
        self._engine = engine
        self._parts: dict[tuple[int, int], list[str]] = {
            (prompt, sample): [] for prompt, count in enumerate(counts) for sample in range(count)
        }
        self._tokens = 0
        self._state = "not begun"

    def __iter__(self) -> Written:
        """Return itself, which goes on where it stands."""
        return self

    def __next__(self) -> Piece:
        """Make the next piece, and return it."""
        try:
            piece = next(self._pieces)
        except StopIteration:
            self._state = "done" if self._state != "closed" else self._state
            raise
        self._state = "under way"
        self._parts[piece.prompt, piece.sample].append(piece.text)
        self._tokens += 1
        return piece

    def text(self) -> str:
        """Make what is left, and return the whole text."""
        if len(self._parts) != 1:
            raise UsageError(f"{len(self._parts)} texts were asked for, and text() returns one", "texts() returns all")
        return self.texts()[0]

    def texts(self) -> list[str]:
        """Make what is left, and return every text: the samples of the first prompt, those of the second, and so on."""
        for _ in self:
            pass
        return ["".join(parts) for parts in self._parts.values()]

    def close(self) -> None:
        """Stop making pieces; what was made stays."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()
        if self._state != "done":
            self._state = "closed"

    def __enter__(self) -> Written:
        """Return it, for `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Close it."""
        self.close()
        return False

    def __repr__(self) -> str:
        """Return how far it is, and how to get at the text; nothing is made for that."""
        count = len(self._parts)
        texts = "1 text" if count == 1 else f"{count} texts"
        got = "".join(next(iter(self._parts.values()), []))
        shown = f", {got[:SHOWN_CHARACTERS]!r}{'…' if len(got) > SHOWN_CHARACTERS else ''}" if got else ""
        how = ".text()" if count == 1 else ".texts()"
        rest = f"; iterate over it, or {how}" if self._state != "closed" else ""
        return f"<Written {self._state}: {texts}, {self._tokens:,} tokens{shown}; {self._engine}{rest}>"
