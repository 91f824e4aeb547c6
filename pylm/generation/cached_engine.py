"""What every engine over a framework's model does alike: prompts in chunks, tokens one by one, guesses at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from pylm.generation.engine import Cache, Logits

__all__ = ["CachedEngine"]

PREFILL_CHUNK = 512  # the scores of a chunk against a full context stay small, and every product stays a large one


class CachedEngine(ABC):
    """An engine that reads with one forward pass over a cache: the reading of the protocol Engine."""

    rows_at_once = 32
    verifies = True

    def prefill(self, ids: Sequence[int], cache: Cache, row: int) -> Logits:
        """Append ids to a row, a chunk at a time, and return the logits after the last one, [vocab]."""
        for start in range(0, len(ids), PREFILL_CHUNK):
            logits = self._forward([ids[start : start + PREFILL_CHUNK]], cache, row)
        last: Logits = logits[0]
        return last

    def decode(self, ids: Sequence[int], cache: Cache) -> Logits:
        """Append one id to every row and return the logits after each, [rows, vocab]."""
        return self._forward([[token] for token in ids], cache, None)

    def verify(self, ids: Sequence[int], cache: Cache) -> Logits:
        """Append ids to the only row and return the logits after each of them, [ids, vocab]."""
        return self._forward([ids], cache, 0, every=True)

    @abstractmethod
    def _forward(self, rows: Sequence[Sequence[int]], cache: Cache, row: int | None, every: bool = False) -> Logits:
        """Append to one row, or to each, and return the logits of the last tokens, or of every one."""
