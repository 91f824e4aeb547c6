"""What computes logits for generation: the protocol that torch, MLX and the C++ engine implement.

A cache holds what an engine has read of some sequences, one a row. Nothing that is written depends on it: an engine
gives the same logits, to rounding, for the same ids whether they were read at once, in chunks, one by one, alone or in
company, and generation draws the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pylm.generation.branches import Branches, Scored

__all__ = ["Cache", "Engine", "Logits", "common_prefix"]

Logits = npt.NDArray[np.float32]


class Cache(Protocol):
    """The sequences that an engine has read, to go on from."""

    @property
    def ids(self) -> Sequence[Sequence[int]]:
        """Return what stands in each row."""
        ...

    @property
    def capacity(self) -> int:
        """Return how many tokens a row holds at most."""
        ...

    def truncate(self, row: int, length: int) -> None:
        """Forget what follows the first `length` tokens of a row."""
        ...

    def copy(self, source: int, target: int) -> None:
        """Make one row a copy of another."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, which move up in this order."""
        ...


class Engine(Protocol):
    """A model that reads tokens and says what may follow."""

    @property
    def name(self) -> str:
        """Return what computes, in a few words."""
        ...

    @property
    def context_length(self) -> int:
        """Return how many tokens it sees at most."""
        ...

    @property
    def vocab_size(self) -> int:
        """Return how many logits a token has."""
        ...

    @property
    def rows_at_once(self) -> int:
        """Return how many sequences it reads for little more than the price of one."""
        ...

    @property
    def verifies(self) -> bool:
        """Say whether `verify` is there: several tokens for little more than the price of one."""
        ...

    def cache(self, rows: int, capacity: int) -> Cache:
        """Make room for so many sequences of so many tokens."""
        ...

    def prefill(self, ids: Sequence[int], cache: Cache, row: int) -> Logits:
        """Append ids to a row and return the logits after the last one, [vocab]."""
        ...

    def decode(self, ids: Sequence[int], cache: Cache) -> Logits:
        """Append one id to every row and return the logits after each, [rows, vocab]."""
        ...

    def verify(self, ids: Sequence[int], cache: Cache) -> Logits:
        """Append ids to the only row and return the logits after each of them, [ids, vocab]."""
        ...

    def score(self, branches: Branches, cache: Cache | None) -> Scored:
        """Return what targets are worth on branches of the only row, or of nothing; the cache stays as it is."""
        ...


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with together."""
    length = min(len(one), len(other))
    for index in range(length):
        if one[index] != other[index]:
            return index
    return length
