"""Examples that a model is judged by: those that a tuned run held out, or a dataset that its own tokenizer reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from pylm.data.loader import find_shards
from pylm.data.shard_documents import shard_documents
from pylm.evaluation.reading import Passage

if TYPE_CHECKING:
    from pylm.evaluation.answered import Masked

__all__ = ["Example", "examples_of_shards", "has_masks", "passages"]


class Example(NamedTuple):
    """An example in ids."""

    ids: npt.NDArray[np.int64]
    counts: npt.NDArray[np.bool_]  # of each id, whether it is a target


def has_masks(path: str, split: str) -> bool:
    """Say whether a split of shards is one of examples: whether a mask lies beside each shard."""
    return all(_mask_of(shard[0]).is_file() for shard in find_shards(path, split).shards)


def examples_of_shards(path: str, split: str) -> Iterator[Example]:
    """Yield the examples of a folder of shards with masks, in their order."""
    shards = find_shards(path, split).shards
    masks = [_bits(_mask_of(name), tokens) for name, _, tokens, _ in shards]
    counts = np.concatenate(masks)
    start = 0
    for ids in shard_documents(path, split, None):
        yield Example(ids, counts[start : start + len(ids)])
        start += len(ids)


def passages(examples: Iterable[Masked], digest: Callable[[bytes], object] = lambda data: None) -> Iterator[Passage]:
    """Yield examples as the model reads them: each alone, from its first token.

    Args:
        examples: in ids.
        digest: given the bytes of each.
    """
    for number, each in enumerate(examples):
        ids, counts = np.asarray(each.ids, np.int64), np.asarray(each.counts, bool)
        digest(hashlib.sha256(ids.astype("<i8").tobytes() + np.packbits(counts).tobytes()).digest())
        if counts[1:].any():
            targets = np.where(counts[1:], ids[1:], -1)
            yield Passage(ids[:-1], targets, np.full(len(targets), number))


def _mask_of(shard: str) -> Path:
    return Path(shard).with_suffix(".mask")


def _bits(mask: Path, tokens: int) -> npt.NDArray[np.bool_]:
    """Return a mask's bits: that of token 8k + i is bit i of byte k."""
    return np.unpackbits(np.fromfile(mask, np.uint8), count=tokens, bitorder="little").astype(bool)
