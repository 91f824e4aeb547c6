"""Strings that remember which of their characters a conversation brought, whatever a chat template does to them.

A template joins its own words with those of messages, cuts, trims and replaces; what is left at the end must still tell
the one from the other, because a control token counts only where the template alone wrote it. So messages, their keys,
tools and variables enter a template as `Said`, and every operation that a template has gives `Said` again. Where the
characters of a result cannot be followed one by one, all of them count as the conversation's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, SupportsIndex

from jinja2 import Undefined

__all__ = ["MAX_OUTPUT", "Refused", "Said", "joined", "mark", "mask_of", "plain", "replaced", "spoken", "whole"]

MAX_OUTPUT = 16 * 1024 * 1024  # characters, of the whole and of any string on the way

HUGE = f"the chat template makes a huge string, of more than {MAX_OUTPUT:,} characters"
CONVERSATION = b"\1"  # the byte of a mask for a character that the conversation brought


class Refused(Exception):
    """An error for a template that went past a limit, or called raise_exception."""


class Said(str):
    """Text with a mask of one byte a character: 1 where the conversation brought it, 0 where the template did."""

    _mask: bytes

    def __str__(self) -> str:
        """Return itself: what is shown is still marked."""
        return self

    def __add__(self, other: str) -> str:
        """Return it joined with what follows."""
        return joined((self, other)) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> str:
        """Return it joined with what comes before."""
        return joined((other, self)) if isinstance(other, str) else NotImplemented

    def __mul__(self, count: SupportsIndex) -> str:
        """Return it repeated."""
        return marked(plain(self) * count, self._mask * count)

    def __rmul__(self, count: SupportsIndex) -> str:
        """Return it repeated."""
        return self * count

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        """Return a part of it."""
        part = self._mask[key]
        return marked(str.__getitem__(self, key), part if isinstance(part, bytes) else bytes((part,)))

    def __iter__(self) -> Iterator[str]:
        """Yield the characters one by one."""
        for place, letter in enumerate(plain(self)):
            yield marked(letter, self._mask[place : place + 1])

    def _recased(self, text: str) -> str:
        """Return the same letters in another case.

        Some have no counterpart of one letter, and then none can be followed.
        """
        return marked(text, self._mask) if len(text) == len(self) else whole(text)

    def capitalize(self) -> str:
        """Return what `str.capitalize` returns, with its marks."""
        return self._recased(str.capitalize(self))

    def casefold(self) -> str:
        """Return what `str.casefold` returns, with its marks."""
        return self._recased(str.casefold(self))

    def lower(self) -> str:
        """Return what `str.lower` returns, with its marks."""
        return self._recased(str.lower(self))

    def swapcase(self) -> str:
        """Return what `str.swapcase` returns, with its marks."""
        return self._recased(str.swapcase(self))

    def title(self) -> str:
        """Return what `str.title` returns, with its marks."""
        return self._recased(str.title(self))

    def upper(self) -> str:
        """Return what `str.upper` returns, with its marks."""
        return self._recased(str.upper(self))

    def lstrip(self, chars: str | None = None, /) -> str:
        """Return what `str.lstrip` returns, with its marks."""
        return self[len(self) - len(str.lstrip(self, chars)) :]

    def rstrip(self, chars: str | None = None, /) -> str:
        """Return what `str.rstrip` returns, with its marks."""
        return self[: len(str.rstrip(self, chars))]

    def strip(self, chars: str | None = None, /) -> str:
        """Return what `str.strip` returns, with its marks."""
        start = len(self) - len(str.lstrip(self, chars))
        return self[start : start + len(str.strip(self, chars))]

    def removeprefix(self, prefix: str, /) -> str:
        """Return what `str.removeprefix` returns, with its marks."""
        return self[len(prefix) :] if self.startswith(prefix) else self

    def removesuffix(self, suffix: str, /) -> str:
        """Return what `str.removesuffix` returns, with its marks."""
        return self[: len(self) - len(suffix)] if suffix and self.endswith(suffix) else self

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        """Return what `str.split` returns, with its marks."""
        return self._parts(str.split(self, sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        """Return what `str.rsplit` returns, with its marks."""
        return self._parts(str.rsplit(self, sep, maxsplit), sep)

    def _parts(self, parts: list[str], sep: str | None) -> list[str]:
        """Return the parts that a split gave, found again in their order; between them stands `sep`, or white space."""
        found, cursor = [], 0
        for part in parts:
            start = cursor if sep is not None else self.find(part, cursor)
            found.append(self[start : start + len(part)])
            cursor = start + len(part) + len(sep or "")
        return found

    def splitlines(self, keepends: bool = False) -> list[str]:
        """Return what `str.splitlines` returns, with its marks."""
        found, cursor = [], 0
        for line, ended in zip(str.splitlines(self), str.splitlines(self, keepends=True), strict=True):
            found.append(self[cursor : cursor + len(ended if keepends else line)])
            cursor += len(ended)
        return found

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        """Return what `str.partition` returns, with its marks."""
        place = self.index(sep) if sep in self and sep else -1
        if place < 0:
            return (self, *str.partition(self, sep)[1:])  # fails on an empty separator as str does
        return self[:place], self[place : place + len(sep)], self[place + len(sep) :]

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        """Return what `str.rpartition` returns, with its marks."""
        place = self.rindex(sep) if sep in self and sep else -1
        if place < 0:
            return (*str.rpartition(self, sep)[:2], self)
        return self[:place], self[place : place + len(sep)], self[place + len(sep) :]

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        """Return what `str.replace` returns, with its marks."""
        return replaced(self, old, new, count)

    def join(self, items: Iterable[str], /) -> str:
        """Return what `str.join` returns, with its marks."""
        parts: list[str] = []
        for item in items:
            parts += (self, item) if parts else (item,)
        return joined(parts)


# jinja's sentences name the type of what they complain of, and to a template's author this is a text
Said.__module__, Said.__qualname__, Said.__name__ = "builtins", "str", "str"


class SaidInt(int):
    """A number that the conversation brought; what is computed with it is the template's."""


class SaidFloat(float):
    """A number that the conversation brought; what is computed with it is the template's."""


def plain(text: str) -> str:
    """Return the text without its mask."""
    return str.__str__(text)


def mask_of(text: str) -> bytes:
    """Return the mask of a text; what has none is the template's."""
    return text._mask if isinstance(text, Said) else bytes(len(text))


def marked(text: str, mask: bytes) -> str:
    """Return a text with its mask, plain where nothing of it was brought."""
    if len(text) > MAX_OUTPUT:
        raise Refused(HUGE)
    if CONVERSATION not in mask:
        return plain(text)
    made = Said(text)
    made._mask = mask
    return made


def whole(text: str) -> str:
    """Return a text of which everything counts as the conversation's."""
    return marked(text, CONVERSATION * len(text))


def mark(value: Any) -> Any:
    """Return all that a conversation brings, marked: texts, keys and numbers, at any depth."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, Mapping):
        return {mark(key): mark(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [mark(item) for item in value]
    if type(value) is int:
        return SaidInt(value)
    return SaidFloat(value) if type(value) is float else value


def spoken(value: Any) -> str:
    """Return what a template writes for a value."""
    if isinstance(value, str):
        return value
    text = str(value)
    known = type(value) in (int, float, bool, type(None)) or isinstance(value, Undefined)
    return text if known else whole(text)


def joined(pieces: Iterable[str]) -> str:
    """Return strings joined, with their masks."""
    texts: list[str] = []
    length, any_said = 0, False
    for piece in pieces:
        length += len(piece)
        if length > MAX_OUTPUT:
            raise Refused(HUGE)
        any_said = any_said or isinstance(piece, Said)
        texts.append(piece)
    text = "".join(map(plain, texts))
    return marked(text, b"".join(map(mask_of, texts))) if any_said else text


def replaced(text: str, old: str, new: str, count: SupportsIndex = -1) -> str:
    """Return a text with parts of it replaced."""
    if len(text) + (text.count(old) if count else 0) * len(new) > MAX_OUTPUT:
        raise Refused(HUGE)
    if not isinstance(text, Said) and not isinstance(new, Said):
        return text.replace(old, new, count)
    left = text.count(old) if int(count) < 0 else min(int(count), text.count(old))
    parts: list[str] = []
    cursor = 0
    for number in range(left):
        # an empty text stands before each character, and at the end
        place = min(number, len(text)) if not old else text.find(old, cursor)
        parts += (text[cursor:place], new)
        cursor = place + len(old)
    return joined((*parts, text[cursor:]))
