"""Ids of a conversation: control tokens are those that its template wrote, and no others.

Whatever an engine finds in a text, among the ids that leave here an added token stands only where the template spelled
it out: that is checked on the ids themselves, and what does not hold is encoded in smaller parts until it does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pylm.errors import TokenizerError
from pylm.tokenizer.chat import Rendered

if TYPE_CHECKING:
    from pylm.tokenizer.backend import Backend

__all__ = ["ChatEncoder"]


class ChatEncoder:
    """An encoder of rendered conversations with one tokenizer."""

    def __init__(self, backend: Backend) -> None:
        """Look up which tokens control: all that were added to the vocabulary, special or not, but for words."""
        self._backend = backend
        self._json: dict[str, Any] = json.loads(backend.to_tokenizer_json())
        added = self._json.get("added_tokens") or []
        self._control: dict[str, int] = {
            token["content"]: int(token["id"]) for token in added if token["content"] and not _is_word(token)
        }
        self._lengths: dict[str, list[int]] = {}  # of the names that begin with a letter, the longest first
        for name in sorted(self._control, key=len, reverse=True):
            lengths = self._lengths.setdefault(name[0], [])
            lengths += [len(name)] * (len(name) not in lengths)
        self._first = re.compile("|".join(map(re.escape, self._lengths)) or r"(?!)")
        unknown = getattr(backend, "unknown", None)
        self._ids = frozenset(token for name, token in self._control.items() if name != unknown)
        self._all_plain: Backend | None = None

    def encode(self, conversation: Rendered) -> list[int]:
        """Return the ids of a conversation."""
        text = conversation.text
        written = list(self._written(conversation))
        if not self._forged(conversation):
            ids = self._encoded(self._backend, text, frozenset(self._backend.specials))
            if self._controls(ids) == [token for _, _, token in written if token in self._ids]:
                return ids
        ids, cursor = [], 0
        for start, end, token in written:
            ids += [*self._plainly(text[cursor:start]), token]
            cursor = end
        return ids + self._plainly(text[cursor:])

    def _written(self, conversation: Rendered) -> Iterator[tuple[int, int, int]]:
        """Return the control tokens in what the template wrote itself: from where to where, and the id."""
        borders = [0, *(place for span in conversation.brought for place in span), len(conversation.text)]
        for number, (start, end) in enumerate(pairwise(borders)):
            if number % 2 == 0:
                for first, last in self._found(conversation.text, start, end):
                    yield first, last, self._control[conversation.text[first:last]]

    def _forged(self, conversation: Rendered) -> bool:
        """Say whether a control token stands in the text that the conversation had a part in."""
        spans = iter(conversation.brought)
        span = next(spans, None)
        for first, last in self._found(conversation.text, 0, len(conversation.text)):
            while span is not None and span[1] <= first:
                span = next(spans, None)
            if span is not None and span[0] < last:
                return True
        return False

    def _found(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield where names of control tokens stand in a part of a text, the first and longest as an engine takes them.

        Vocabularies have thousands of them, which a regex would try one by one at each `<`.
        """
        for match in self._first.finditer(text, start, end):
            first = match.start()
            if first < start:
                continue
            for length in self._lengths[match[0]]:
                if first + length <= end and text[first : first + length] in self._control:
                    start = first + length
                    yield first, start
                    break

    def _controls(self, ids: list[int]) -> list[int]:
        return [token for token in ids if token in self._ids]

    def _plainly(self, text: str) -> list[int]:
        """Return the ids of a text in which no control token is found, nor made by merges."""
        if not text:
            return []
        if self._all_plain is None:
            self._all_plain = _with_all_special(self._backend, self._json)
        ids = self._encoded(self._all_plain, text, frozenset())
        if not self._controls(ids):
            return ids
        if len(text) > 1:
            middle = len(text) // 2
            return self._plainly(text[:middle]) + self._plainly(text[middle:])
        if self._all_plain.native:
            return [self._encoded(self._all_plain, bytes((byte,)), frozenset())[0] for byte in text.encode()]
        raise TokenizerError(f"this tokenizer has no id for {text!r} but that of its control token", "leave it out")

    @staticmethod
    def _encoded(backend: Backend, text: str | bytes, allowed: frozenset[str]) -> list[int]:
        ids: list[int] = backend.encode(text, allowed).tolist()
        return ids


def _is_word(token: dict[str, Any]) -> bool:
    """Say whether an added token is text like any other: white space of some length, or one letter, and not special."""
    content: str = token["content"]
    return not token.get("special") and (
        not content.strip(" \t\r\n\u2581") or (len(content) == 1 and content.isalnum())
    )


def _with_all_special(backend: Backend, value: dict[str, Any]) -> Backend:
    """Return the same tokenizer, which takes every added token for plain text where it is not allowed."""
    added = value.get("added_tokens") or []
    if all(token.get("special") for token in added):
        return backend
    from pylm.tokenizer.load import backend_as_read

    special = [token if _is_word(token) else {**token, "special": True} for token in added]
    try:
        # whether its ids are those of others was asked when it was opened
        return backend_as_read(json.dumps({**value, "added_tokens": special}).encode(), "the tokenizer")
    except TokenizerError:
        return backend  # which is not told: its texts are cut where it finds a control token
