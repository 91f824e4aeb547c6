"""Ids to text as they come: cut between whole characters, ended by stop strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer

__all__ = ["TextStream"]

# A decoder may treat the start of a text in its own way (SentencePiece drops a space): so many ids of the prompt tell
# it that this is no start.
PRIMED = 4


class TextStream:
    """A stream that gives out text once it is certain.

    It gives whole characters, and none that a stop string may yet take back.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stops: Sequence[str] = ()) -> None:
        """Start from the ids that the text goes on from, and the strings that end it and are not given out."""
        self._decoder = tokenizer.decode_stream()
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False
        before = list(prompt[-PRIMED:])
        said = "".join(self._decoder.push(token) for token in before)
        # what the decoder holds back of the prompt is not to come out later
        self._skip = len(tokenizer.decode(before)) - len(said) if before else 0

    def push(self, token: int) -> str:
        """Return the text that is certain with one more id; `stopped` says whether it ended in a stop string."""
        return self._given(self._decoder.push(token), final=False)

    def finish(self) -> str:
        """Return the text that is left."""
        return self._given(self._decoder.finish(), final=True)

    def _given(self, text: str, final: bool) -> str:
        if self._skip > 0:
            text, self._skip = text[self._skip :], max(0, self._skip - len(text))
        held = self._held + text
        ends = [held.find(stop) for stop in self._stops]
        if found := [end for end in ends if end >= 0]:
            self.stopped, self._held = True, ""
            return held[: min(found)]
        keep = 0 if final else max((_overlap(held, stop) for stop in self._stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of a text may be the start of a stop string."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
