"""The documents of a split, one after another, as ids: by the index of each shard, else at the ends of texts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pylm import _native
from pylm.data.loader import find_shards
from pylm.errors import DataError
from pylm.wording import param

__all__ = ["shard_documents"]

Ids = npt.NDArray[np.int64]

PIECE = 1 << 20  # tokens that are read at a time


def shard_documents(path: str | os.PathLike[str], split: str, eot: int | None) -> Iterator[Ids]:
    """Yield the ids of each document, its end of text among them where it has one.

    Args:
        path: a folder of shards, or a file of tokens.
        split: which of a folder's files.
        eot: what ends a document where a shard has no index.
    """
    found = find_shards(os.fspath(path), split)
    for shard in found.shards:
        one = _native.Batches(
            [(found.name, 1.0, found.vocab_size, [shard])],
            context_length=1, batch_size=1, stride=1, packed=False, seed=0, rank=0, world=1,
        )  # fmt: skip
        starts = _starts(shard[0], shard[3], one, eot)
        first = 0
        while first < len(starts) - 1:
            # whole documents, together about a piece: a shard may be longer than memory is large
            last = max(int(np.searchsorted(starts, starts[first] + PIECE, "right")) - 1, first + 1)
            begin, cuts = starts[first], starts[first : last + 1]
            ids = one.read(0, 0, int(begin), int(starts[last] - begin))
            yield from (ids[a - begin : b - begin] for a, b in zip(cuts[:-1], cuts[1:], strict=True) if a < b)
            first = last


def _starts(name: str, index: str, one: _native.Batches, eot: int | None) -> Ids:
    """Return where the documents of a shard begin, and where the last one ends."""
    if index:
        return np.fromfile(index, "<u8").astype(np.int64)
    if eot is None:
        raise DataError(
            f"{Path(name)} has no .idx, and no tokenizer says what ends a document of it",
            f"leave out {param('by_document', True)}",
        )
    size = sum(one.tokens)
    pieces = ((at, one.read(0, 0, at, min(PIECE, size - at))) for at in range(0, size, PIECE))
    return np.concatenate([[0], *(np.flatnonzero(ids == eot) + at + 1 for at, ids in pieces), [size]])
