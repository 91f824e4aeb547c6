"""Which documents of several sources are taken, and in which order, so that their tokens are as the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["interleaved", "most_without_repeating", "shares"]


def shares(sizes: Sequence[int], weights: Sequence[float] | None, temperature: float | None) -> list[float]:
    """Return each source's share of the tokens: as its weight, else as its size to the power of `temperature`."""
    parts = (
        list(weights)
        if weights is not None
        else [float(size) ** (1.0 if temperature is None else temperature) for size in sizes]
    )
    whole = sum(parts)
    return [part / whole for part in parts]


def most_without_repeating(sizes: Sequence[int], of_each: Sequence[float]) -> int:
    """Return how many tokens the sources give in these shares before one of them has no more."""
    return int(min(size / share for size, share in zip(sizes, of_each, strict=True)))


def interleaved(
    lengths: Sequence[NDArray[Any]], of_each: Sequence[float], tokens: int, *, repeat: bool, seed: int | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the source and the number of each document that is taken, in order.

    The next document is of the source that is furthest behind its share, by tokens; the first of those that are alike.
    The one that reaches `tokens` is the last.

    Args:
        lengths: Tokens of each source's documents.
        of_each: Its share.
        tokens: How many are taken.
        repeat: Whether a source that has no more begins anew.
        seed: Each pass over a source has an order of its own; that of the source if None.
    """
    numbers, keys, sizes = [], [], []
    for source, (own, share) in enumerate(zip(lengths, of_each, strict=True)):
        order = _order(own, share * tokens, source, repeat, seed)
        length = own[order].astype(np.int64)
        numbers.append(order)
        sizes.append(length)
        keys.append((np.cumsum(length) - length) / share)  # how far the source is when the document's turn comes
    source_of = np.repeat(np.arange(len(lengths)), [len(one) for one in numbers])
    number, length = np.concatenate(numbers), np.concatenate(sizes)
    order = np.lexsort((source_of, np.concatenate(keys)))
    end = int(np.searchsorted(np.cumsum(length[order]), tokens)) + 1
    order = order[:end]
    return source_of[order], number[order]


def _order(lengths: NDArray[Any], wanted: float, source: int, repeat: bool, seed: int | None) -> NDArray[np.intp]:
    """Return the numbers of a source's documents, again and again until there are more tokens than are wanted."""
    passes = int(wanted // max(int(lengths.sum()), 1)) + 1 if repeat else 1
    orders = []
    for each in range(passes):
        own = np.arange(len(lengths))
        orders.append(own if seed is None else np.argsort(_drawn(seed, source, each, len(own)), kind="stable"))
    return np.concatenate(orders)


def _drawn(seed: int, source: int, pass_: int, count: int) -> NDArray[np.uint64]:
    """Return numbers that look random and are the same for every version of numpy: SplitMix64 of where they stand."""
    begin = _mixed(_mixed(_mixed(np.array([seed], np.uint64)) + np.uint64(source)) + np.uint64(pass_))
    return _mixed(np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + begin)


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = bits ^ (bits >> np.uint64(31))
    return mixed
