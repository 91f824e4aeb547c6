"""Examples that a model is judged by: those that a tuned run held out, or a dataset that its own tokenizer reads."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pylm.data import chat
from pylm.data.chat.fitting import pieces
from pylm.data.chat.masking import mask
from pylm.data.folder import masks_of, read_manifest
from pylm.data.loader import find_shards
from pylm.data.masks import mask_name
from pylm.data.shard_documents import shard_documents
from pylm.errors import DataError
from pylm.evaluation.reading import Passage
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.data.chat.templates import Template
    from pylm.evaluation.answered import Masked
    from pylm.tokenizer import Tokenizer

__all__ = ["Example", "examples_of", "examples_of_shards", "ids_of_labels", "in_pieces", "masks_beside", "passages"]

Integers = npt.NDArray[np.int64]


class Example(NamedTuple):
    """An example in ids."""

    ids: npt.NDArray[np.int64]
    counts: npt.NDArray[np.bool_]  # of each id, whether it is a target


def masks_beside(path: str) -> dict[str, Any] | None:
    """Return what the manifest of a folder of examples says of how they were made; None where it holds text.

    It is an error where it holds pairs of answers: half of these are what a model is not to say.
    """
    manifest = read_manifest(Path(path)) if Path(path).is_dir() else None
    if manifest is None or not masks_of(manifest):
        return None
    if manifest["made"].get("kind") == "pairs":
        raise DataError(
            f"{path} holds pairs of answers, half of them rejected, and no examples to be judged by",
            f"{param('examples', 'F')} names examples; metrics.jsonl of the run has what its held-out pairs say",
        )
    return dict(manifest["made"])


def examples_of_shards(path: str, split: str) -> Iterator[Example]:
    """Yield the examples of a folder of shards with masks, in their order."""
    counts = np.concatenate([_bits(Path(shard[0]), shard[2]) for shard in find_shards(path, split).shards])
    start = 0
    for ids in shard_documents(path, split, None):
        yield Example(ids, counts[start : start + len(ids)])
        start += len(ids)


def examples_of(arrays: Iterable[tuple[Integers, Integers, npt.NDArray[np.bool_]]]) -> Iterator[Example]:
    """Yield examples of inputs, targets and what counts of these, as `pylm.data.Examples` has them."""
    for inputs, targets, counts in arrays:
        yield Example(np.append(inputs[:1], targets), np.append(False, counts))


def in_pieces(texts: Iterable[Example], context_length: int) -> Iterator[Example]:
    """Yield texts in pieces that a model sees whole, as `pylm.data.Examples` cuts them."""
    for text in texts:
        for piece in pieces(chat.Masked(text.ids, text.counts), context_length):
            yield Example(piece.ids, piece.counts)


def ids_of_labels(
    labels: Sequence[str], tokenizer: Tokenizer, template: str | os.PathLike[str] | Template | None
) -> dict[str, list[int]]:
    """Return what counts of an example of each label: its ids, with what ends them."""
    found = {}
    for label in labels:
        masked = mask({"text": "-", "label": label}, tokenizer, template)
        found[label] = [int(token) for token in masked.ids[masked.counts]]
    return found


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


def _bits(shard: Path, tokens: int) -> npt.NDArray[np.bool_]:
    """Return the mask of a shard's tokens: that of token 8k + i is bit i of byte k."""
    bits = np.fromfile(shard.with_name(mask_name(shard.name)), np.uint8)
    return np.unpackbits(bits, count=tokens, bitorder="little").astype(bool)
