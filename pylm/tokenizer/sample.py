"""The documents of sources as Python strings, no more of them than were asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pylm.errors import UsageError
from pylm.tokenizer.native import parameters_named
from pylm.wording import param

if TYPE_CHECKING:
    from pylm._rust import Documents

__all__ = ["Sample", "reader_of"]


def reader_of(sources: Sequence[str], *, invalid: str = "error", **options: Any) -> Documents:
    """Return what reads `sources`: lists of documents, some at a time."""
    from pylm._rust import Documents

    if invalid not in ("error", "replace"):
        raise UsageError(f"{param('invalid', invalid)} is neither error nor replace", None)
    with parameters_named():
        return Documents(list(sources), invalid=invalid, **options)


class Sample:
    """An iterator over documents, or pairs of source and document, which counts what it gave."""

    def __init__(
        self, reader: Documents, documents: int | None = None, size: int | None = None, without: Iterable[str] = ()
    ) -> None:
        """Start with the reader, the limits, and special tokens that are cut out of the text."""
        self._reader = reader
        self._limit = documents
        self._size = size
        # the longest first: of two names that begin alike the longer is meant
        names = sorted(without, key=len, reverse=True)
        self._apart = re.compile("|".join(map(re.escape, names))) if names else None
        self.documents = 0
        self.bytes = 0

    @property
    def replaced(self) -> int:
        """How many bytes were no UTF-8 and became U+FFFD."""
        return self._reader.replaced

    def __iter__(self) -> Iterator[str]:
        """Yield documents until the sources or the limits end."""
        for _, text in self.named():
            yield from self._apart.split(text) if self._apart else (text,)

    def _read(self) -> Iterator[tuple[str, str]]:
        with parameters_named():
            for batch in self._reader:
                source = self._reader.source
                for text, _, _ in batch:
                    yield source, text

    def named(self) -> Iterator[tuple[str, str]]:
        """Yield pairs of source and document."""
        for source, text in self._read():
            if self._limit is not None and self.documents >= self._limit:
                return
            data = text.encode()
            if self._size is not None and self.bytes + len(data) > self._size:
                data = data[: self._size - self.bytes]
                text = data.decode("utf-8", "ignore")
                if not text:
                    return
            self.documents += 1
            self.bytes += len(data)
            yield source, text
