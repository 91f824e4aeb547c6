"""How much of what a model wrote stands in the text that it was trained on: the longest run of each, found exactly.

Every run of some tokens of the training shards is hashed in one pass of numpy; where a hash is one of the texts', the
tokens themselves are compared, as far as they go on alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Copied", "copied"]

Array = npt.NDArray[Any]
CHUNK = 1 << 20  # tokens that are hashed at a time
ODD = 0x9E3779B97F4A7C15  # what a place is multiplied by; odd numbers have an inverse modulo 2⁶⁴
LEAST = 8  # tokens: shorter runs are the language's, not the text's


@dataclass(frozen=True)
class Copied:
    """What of some texts stands in the training shards."""

    longest: list[int]  # tokens of each text's longest run; 0 where it is shorter than the least
    novelty: float  # share of the tokens of all texts that lie in no such run


def copied(texts: Sequence[Sequence[int]], shards: Iterable[Array], least: int = LEAST) -> Copied:
    """Return the runs of at least so many tokens that texts have in common with shards, which are arrays of ids."""
    # one array of all texts, which a number that is no id parts: no run goes from one text into the next
    joined = np.concatenate([np.array([*text, -1], np.int64) for text in texts] or [np.zeros(0, np.int64)])
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])[:-1]
    length = np.zeros(len(joined), np.int64)  # of the longest run from each place on
    for own, place, shard in _meetings(joined, shards, least):
        np.maximum.at(length, own, _alike(joined, own, shard, place))
    covered = np.zeros(len(joined) + 1, np.int64)
    for at in np.flatnonzero(length):
        covered[at] += 1
        covered[at + length[at]] -= 1
    inside = int((np.cumsum(covered)[:-1] > 0).sum())
    total = sum(map(len, texts))
    longest = [int(length[start : start + len(text)].max(initial=0)) for start, text in zip(starts, texts, strict=True)]
    return Copied(longest, 1 - inside / total if total else 0.0)


def _meetings(joined: Array, shards: Iterable[Array], least: int) -> Iterator[tuple[Array, Array, Array]]:
    """Yield places in the texts and in a shard where `least` tokens may be alike, with the shard."""
    own = _hashes(joined, least)
    order = np.argsort(own, kind="stable")
    ordered = own[order]
    for shard in shards:
        for begin in range(0, max(len(shard) - least + 1, 0), CHUNK):
            found = _hashes(np.asarray(shard[begin : begin + CHUNK + least - 1], np.int64), least)
            low = np.searchsorted(ordered, found, "left")
            count = np.searchsorted(ordered, found, "right") - low
            if count.any():
                which = np.repeat(low - np.cumsum(count) + count, count) + np.arange(count.sum())
                yield order[which], np.repeat(np.arange(len(found)) + begin, count), shard


def _alike(joined: Array, own: Array, shard: Array, place: Array) -> Array:
    """Return how many tokens are alike from each pair of places on; 0 where a hash was wrong about its run."""
    length = np.zeros(len(own), np.int64)
    alive = np.arange(len(own))
    while len(alive):
        at = place[alive] + length[alive]
        inside = at < len(shard)
        same = np.zeros(len(alive), bool)
        same[inside] = joined[own[alive[inside]] + length[alive[inside]]] == shard[at[inside]]
        alive = alive[same]
        length[alive] += 1
    return length


def _hashes(ids: Array, width: int) -> npt.NDArray[np.uint64]:
    """Return a hash of each run of `width` ids: sums of ids × ODD^place, which the place of a run does not change."""
    if len(ids) < width:
        return np.zeros(0, np.uint64)
    with np.errstate(over="ignore"):
        mixed = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)
        mixed ^= mixed >> np.uint64(32)
        mixed *= np.uint64(0xD6E8FEB86659FD93)
        powers = np.cumprod(np.full(len(ids), ODD, np.uint64), dtype=np.uint64)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed * powers, dtype=np.uint64)])
        inverse = np.cumprod(np.full(len(ids), pow(ODD, -1, 1 << 64), np.uint64), dtype=np.uint64)
        found: npt.NDArray[np.uint64] = (sums[width:] - sums[:-width]) * inverse[: len(ids) - width + 1]
    return found
