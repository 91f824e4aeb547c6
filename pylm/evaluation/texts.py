"""What can be said of texts that a model wrote: how varied they are, and how they repeat themselves."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

__all__ = ["distinct", "repetition", "zlib_ratio"]


def distinct(texts: Sequence[Sequence[int]], n: int) -> float:
    """Return the share of different n-grams among all n-grams of the texts; 0 where there is none."""
    grams = [tuple(text[at : at + n]) for text in texts for at in range(len(text) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition(texts: Sequence[Sequence[int]], n: int = 4) -> float:
    """Return the share of n-grams that stood in the same text before."""
    again = total = 0
    for text in texts:
        counts = Counter(tuple(text[at : at + n]) for at in range(len(text) - n + 1))
        total += counts.total()
        again += counts.total() - len(counts)
    return again / total if total else 0.0


def zlib_ratio(texts: Iterable[str]) -> float:
    """Return the bytes of the texts by their compressed bytes: text that repeats itself has more."""
    data = "\n".join(texts).encode()
    return len(data) / len(zlib.compress(data, 9)) if data else 0.0
