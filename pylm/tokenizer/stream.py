"""Text from ids as they come, cut only between whole characters."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

__all__ = ["DecodeStream"]

# WordPiece's decoder takes spaces away as more comes (`do not` becomes `don't`): so many words may still change.
HELD_BACK = 3


class DecodeStream:
    """A stream that takes ids one at a time and returns the text that is certain by now.

    ::

        stream = tokenizer.decode_stream()
        for token_id in ids:
            print(stream.push(token_id), end="")
        print(stream.finish())

    The pieces together are what `decode` of all ids returns.
    """

    def __init__(
        self,
        token_bytes: Callable[[int], bytes | None],
        decode: Callable[[Sequence[int]], str],
        strips_space: bool = False,
        first_bytes: Callable[[int], bytes | None] | None = None,
    ) -> None:
        """Take what turns one id into bytes, and what decodes a sequence for tokenizers that know no bytes of an id.

        `strips_space` takes a space from the beginning, and `first_bytes` says what the first id is where that differs.
        """
        self._token_bytes = token_bytes
        self._first_bytes = first_bytes
        self._decode = decode
        self._strips_space = strips_space
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._whole: list[int] = []  # every id so far, for tokenizers that decode whole sequences only
        self._given = 0

    def push(self, token_id: int) -> str:
        """Return the text that this id completes, maybe none yet."""
        token_bytes, self._first_bytes = self._first_bytes or self._token_bytes, None
        data = None if self._whole else token_bytes(token_id)
        if data is None:
            self._whole.append(token_id)
            return self._since(self._decode(self._whole), HELD_BACK)
        if self._strips_space and data:
            self._strips_space = False
            data = data[1:] if data[:1] == b" " else data
        return self._utf8.decode(data)

    def finish(self) -> str:
        """Return the text that is left: U+FFFD where the last character never was completed."""
        if self._whole:
            return self._since(self._decode(self._whole), 0)
        return self._utf8.decode(b"", final=True)

    def _since(self, text: str, held_back: int) -> str:
        """Return the text that was not given yet, but for the last words."""
        end = len(text)
        for _ in range(held_back):
            end = max(text.rfind(" ", 0, end), 0)
        piece, self._given = text[self._given : end], max(self._given, end)
        return piece
