"""What of each source is trained and validated on: never the same, each in its share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm.data.mixing.documents import Documents, joined, of_manifest
from pylm.data.mixing.origins import Origin
from pylm.data.mixing.proportions import interleaved, most_without_repeating, shares
from pylm.data.mixing.writing import told, val_of
from pylm.errors import DataError
from pylm.wording import param

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pylm.tokenizer.report import Report

__all__ = ["MOST_EPOCHS", "Chosen", "Part", "Sides", "apart", "sides_of", "taken_of"]

MOST_EPOCHS = 4  # beyond which the same text teaches little more (Muennighoff et al. 2023)


@dataclass(frozen=True)
class Part:
    """What was taken of one source for training."""

    source: str
    tokens: int  # that it has
    weight: float  # its share, of 1
    taken: int
    epochs: float
    documents: int
    val_tokens: int


@dataclass(frozen=True)
class Sides:
    """One source's documents for training and for validation."""

    train: Documents
    val: Documents
    train_hashes: NDArray[np.uint64]
    val_hashes: NDArray[np.uint64]
    copies: int = 0


def sides_of(origin: Origin, manifest: dict[str, Any], val: float, progress: Report | None) -> Sides:
    """Return a source's documents for training and validation: as it has them, else by the hash of each."""
    assert origin.folder is not None
    train, held = (_whole(of_manifest(origin.folder, manifest, name), manifest.get("eot")) for name in ("train", "val"))
    hashes = train.hashes(told(progress, train.tokens, "read"))
    if len(held) or not val:
        return Sides(train, held, hashes, held.hashes())
    is_val = val_of(hashes, val)
    return Sides(train.only(~is_val), train.only(is_val), hashes[~is_val], hashes[is_val])


def _whole(documents: Documents, eot: int | None) -> Documents:
    """Return the documents that hold something, without a last one that a limit has cut."""
    kept = documents.lengths > 0
    if eot is not None and len(documents) and documents.last_id() not in (None, eot):
        kept[-1] = False
    return documents.only(kept)


def apart(sides: Sequence[Sides]) -> list[Sides]:
    """Leave out of training what holds the same as a document of any source's validation."""
    held = np.concatenate([one.val_hashes for one in sides])
    kept = []
    for one in sides:
        is_copy = np.isin(one.train_hashes, held)
        kept.append(replace(one, train=one.train.only(~is_copy), copies=int(is_copy.sum())))
    return kept


@dataclass(frozen=True)
class Chosen:
    """What is taken: of each source, for each split with the bytes of text that it may have, and what is left out."""

    parts: tuple[Part, ...]
    splits: dict[str, tuple[Documents, int]]
    copies: int


def taken_of(
    origins: Sequence[Origin],
    described: Sequence[dict[str, Any]],
    sides: Sequence[Sides],
    total: int | None,
    temperature: float | None,
    seed: int | None,
    val: float,
    say: Callable[[str], None],
) -> Chosen:
    """Return what is taken of each source, and in which order."""
    for origin, one in zip(origins, sides, strict=True):
        if not one.train.tokens:
            raise DataError(f"{origin.name} has nothing to train on", f"leave it out, or give less to {param('val')}")
    sizes = [one.train.tokens for one in sides]
    weights = [origin.weight for origin in origins if origin.weight is not None] or None
    of_each = shares(sizes, weights, temperature)
    wanted = most_without_repeating(sizes, of_each) if total is None else total
    lengths = [one.train.lengths for one in sides]
    source, number = interleaved(lengths, of_each, wanted, repeat=total is not None, seed=seed)
    val_parts = [one.val if val else one.val.only(np.zeros(0, np.intp)) for one in sides]
    parts = []
    for place, (origin, one, share) in enumerate(zip(origins, sides, of_each, strict=True)):
        mine = number[source == place]
        taken = int(one.train.lengths[mine].sum())
        epochs = taken / one.train.tokens
        parts.append(Part(origin.name, one.train.tokens, share, taken, epochs, len(mine), val_parts[place].tokens))
        if epochs > MOST_EPOCHS:
            say(
                f"{origin.name} is gone through {epochs:.1f} times: past {MOST_EPOCHS}, the same text teaches little "
                f"more; give it less weight, or fewer {param('tokens')}"
            )
    train = _ordered([one.train for one in sides], source, number)
    held = _validation(val_parts, of_each)
    density = [_of_train(of, "text_bytes") / max(_of_train(of, "tokens"), 1) for of in described]
    text = round(sum(part.taken * each for part, each in zip(parts, density, strict=True)))
    of_val = round(held.tokens * text / max(train.tokens, 1))
    copies = sum(one.copies for one in sides)
    return Chosen(tuple(parts), {"train": (train, text), "val": (held, of_val)}, copies)


def _validation(parts: Sequence[Documents], of_each: Sequence[float]) -> Documents:
    """Return the documents of validation, in the same shares as far as each source has some, and none twice."""
    present = [(one, share) for one, share in zip(parts, of_each, strict=True) if one.tokens]
    if not present:
        return joined(parts)
    some = [one for one, _ in present]
    whole = sum(share for _, share in present)
    shares_ = [share / whole for _, share in present]
    most = most_without_repeating([one.tokens for one in some], shares_)
    source, number = interleaved([one.lengths for one in some], shares_, most, repeat=False)
    return _ordered(some, source, number)


def _ordered(several: Sequence[Documents], source: NDArray[np.intp], number: NDArray[np.intp]) -> Documents:
    begins = np.cumsum([0, *map(len, several)])
    return joined(several).only(begins[source] + number)


def _of_train(manifest: dict[str, Any], key: str) -> int:
    count: int = manifest["splits"]["train"][key]
    return count
