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
        ids = one.read(0, 0, 0, sum(one.tokens))
        for start, stop in _bounds(shard[0], shard[3], ids, eot):
            yield ids[start:stop]


def _bounds(name: str, index: str, ids: Ids, eot: int | None) -> Iterator[tuple[int, int]]:
    if index:
        starts = np.fromfile(index, "<u8").astype(np.int64)
    elif eot is not None:
        starts = np.array([0, *(np.flatnonzero(ids == eot) + 1), len(ids)])
    else:
        raise DataError(
            f"{Path(name)} has no .idx, and no tokenizer says what ends a document of it",
            f"leave out {param('by_document', True)}",
        )
    yield from ((int(a), int(b)) for a, b in zip(starts[:-1], starts[1:], strict=True) if a < b)
