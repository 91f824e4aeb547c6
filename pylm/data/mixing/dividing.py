"""Token shards that stand, divided at documents into training and validation: `pylm data split`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm import _rust
from pylm.data.mixing.documents import Documents, is_ours, joined, of_manifest
from pylm.data.mixing.foreign import of_foreign
from pylm.data.mixing.writing import (
    BESIDE,
    check_share,
    check_tokens,
    made_here,
    new_folder,
    seal_of,
    taken,
    told,
    val_of,
    write_shards,
    write_splits,
)
from pylm.errors import DataError, UsageError
from pylm.wording import param

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pylm.tokenizer.report import Report

__all__ = ["WAYS", "Divided", "divide"]

WAYS = ("hash", "tail")


@dataclass(frozen=True)
class Divided:
    """Shards that were divided: their folder, and the documents and tokens of each split."""

    folder: Path
    documents: dict[str, int]
    tokens: dict[str, int]
    was_here: bool = False


def divide(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    val: float = 0.05,
    by: str = "hash",
    eot: int | None = None,
    shard_tokens: int | str = 100_000_000,
    progress: Report | None = None,
    say: Callable[[str], None] | None = None,
) -> Divided:
    """Write the documents of token shards as training and validation, and none of them to both or to neither.

    Args:
        source: A folder of shards, or a file of tokens, of pylm's or of others (see `Loader`).
        out: The folder to write.
        val: The share of the documents that is kept for validation.
        by: `hash`: which ones they are depends on what each document holds and on nothing else, so that copies of one
            go the same way. `tail`: the last ones that make up the share of the tokens.
        eot: The id that stands between documents, where neither an index nor the format nor a tokenizer says it.
        shard_tokens: About how many tokens a shard gets.
        progress: Called about five times a second.
        say: Called with sentences that a user wants to read.
    """
    say = say or (lambda _: None)
    share, per_shard = check_share("val", val, least_is_none=False), check_tokens("shard_tokens", shard_tokens)
    if by not in WAYS:
        raise UsageError(f"there is no way {by!r} to choose documents", f"{param('by')} takes {' or '.join(WAYS)}")
    path, folder = Path(source), Path(out)
    if not path.exists():
        raise DataError(f"{source}: no such folder or file", "name a folder of token shards, or a file of tokens")
    if not is_ours(path):
        return _foreign(path, folder, share, by, eot, per_shard, progress, say)
    manifest = _rust.shards_manifest(path)
    if eot is not None:
        raise UsageError(f"{source} has an index of its documents", f"leave out {param('eot')}")
    asked = {"split": seal_of(manifest), "val": share, "by": by, "shard_tokens": per_shard}
    if (known := made_here(folder)) is not None:
        if known["made"].get("asked") != asked:
            raise taken(folder)
        return _divided(folder, known["splits"], was_here=True)
    train, held = (of_manifest(path, manifest, name) for name in ("train", "val"))
    if len(held):
        say(f"{source} has {len(held):,} documents of validation already: all are divided anew")
    documents = joined([held, train])  # a document that a limit cut is the last one of training, and stays last
    is_val = _chosen(documents, share, by, str(source), progress)
    text = sum(split["text_bytes"] for split in manifest["splits"].values())
    of_val = round(text * documents.only(is_val).tokens / max(documents.tokens, 1))
    splits = {"train": (documents.only(~is_val), text - of_val), "val": (documents.only(is_val), of_val)}
    with new_folder(folder, "split") as scratch:
        made = write_splits(
            scratch, path, manifest, splits, {"asked": asked}, val=share, shard_tokens=per_shard, progress=progress
        )
    return _divided(folder, made["splits"])


def _divided(folder: Path, splits: dict[str, Any], was_here: bool = False) -> Divided:
    counts = {key: {name: split[key] for name, split in splits.items()} for key in ("documents", "tokens")}
    return Divided(folder, counts["documents"], counts["tokens"], was_here)


def _foreign(
    path: Path,
    out: Path,
    share: float,
    by: str,
    eot: int | None,
    shard_tokens: int,
    progress: Report | None,
    say: Callable[[str], None],
) -> Divided:
    """Divide what others wrote. It stays as they store it, with an index of documents beside each file."""
    found = of_foreign(path, eot, say)
    is_val = _chosen(found.documents, share, by, str(path), progress)
    # ids of four bytes say so in llm.c's header: a file of integers alone is read as two bytes each
    header = "llmc" if found.dtype == "uint32" else found.header
    splits = {"train": found.documents.only(~is_val), "val": found.documents.only(is_val)}
    with new_folder(out, "split") as scratch:
        for name, documents in splits.items():
            write_shards(
                scratch, name, documents, dtype=found.dtype, header=header, shard_tokens=shard_tokens, lengths=None,
                progress=progress,
            )  # fmt: skip
        for name in BESIDE:
            if (found.folder / name).is_file():
                shutil.copyfile(found.folder / name, scratch / name)
    return Divided(
        out, {name: len(one) for name, one in splits.items()}, {name: one.tokens for name, one in splits.items()}
    )


def _chosen(documents: Documents, share: float, by: str, source: str, progress: Report | None) -> NDArray[np.bool_]:
    """Return which documents are for validation; refuse a choice that leaves a split empty."""
    if by == "hash":
        is_val = val_of(documents.hashes(told(progress, documents.tokens, "read")), share)
    else:
        after = documents.tokens - np.cumsum(documents.lengths.astype(np.int64))  # tokens behind each document
        is_val = after < share * documents.tokens
    kept = int(is_val.sum())
    if not 0 < kept < len(documents):
        which = "none" if not kept else "all"
        other = f"; {param('by', 'tail')} chooses by place" if by == "hash" and len(documents) > 1 else ""
        raise DataError(
            f"{which} of the {len(documents):,} documents of {source} fall to validation",
            f"give another share with {param('val')}{other}",
        )
    return is_val
