"""Guesses of what follows, looked up in what was written: text repeats itself, and a guess is checked, not trusted."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Lookup"]

LONGEST, SHORTEST = 4, 2  # the tails that are looked up, longest first
MOST_GUESSED = 8  # on a CPU a pass over 9 tokens costs little more than one over a single token


class Lookup:
    """A table of where each n-gram of a sequence stood last, kept as the sequence grows."""

    def __init__(self, ids: Sequence[int]) -> None:
        """Start from the sequence so far."""
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self.extend(ids)

    def extend(self, ids: Sequence[int]) -> None:
        """Take in the ids that were appended."""
        for token in ids:
            end = len(self._ids)
            # an n-gram is entered when its successor is known: it would find itself otherwise
            for length in range(SHORTEST, min(LONGEST, end) + 1):
                self._after[tuple(self._ids[end - length :])] = end
            self._ids.append(token)

    def guess(self, most: int = MOST_GUESSED) -> list[int]:
        """Return what followed the longest tail that was met before, at most `most` ids; none where none was."""
        for length in range(min(LONGEST, len(self._ids)), SHORTEST - 1, -1):
            place = self._after.get(tuple(self._ids[-length:]))
            if place is not None:
                return self._ids[place : place + max(0, min(most, MOST_GUESSED))]
        return []
