"""Documents to a folder of shards, which is there whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm import _rust
from pylm.data.folder import read_manifest
from pylm.data.mixing.documents import Documents
from pylm.durable import flush_folder, make_folder
from pylm.errors import DataError, PylmError, PylmWarning, UsageError
from pylm.tokenizer.unfinished import unfinished
from pylm.wording import param

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pylm.tokenizer.report import Report

__all__ = [
    "BESIDE",
    "check_share",
    "check_tokens",
    "made_here",
    "new_folder",
    "seal_of",
    "taken",
    "told",
    "val_of",
    "write_shards",
    "write_splits",
]

BESIDE = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "tokenizer.vocab", "ranks.tiktoken")


@contextmanager
def new_folder(out: Path, kind: str) -> Iterator[Path]:
    """Give a folder to write to, which takes its place as `out` once the block is through."""
    if os.path.lexists(out):
        raise taken(out)
    make_folder(out.parent)
    with unfinished(out, kind) as scratch:
        made = scratch / "made"  # of its own, for a temporary folder is nobody else's to read
        made.mkdir()
        yield made
        os.rename(made, out)
        flush_folder(out.parent)


def made_here(out: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder that was made of shards, None where there is none; refuse others."""
    if not os.path.lexists(out):
        return None
    manifest = read_manifest(out) if out.is_dir() else None
    if manifest is None or not manifest.get("made"):
        raise taken(out)
    return manifest


def taken(out: Path) -> DataError:
    """Return the error that says that a folder is another's."""
    return DataError(f"{out} is there already, and holds something else", f"name another folder with {param('out')}")


def seal_of(manifest: dict[str, Any]) -> str:
    """Return what tells shards from others: their manifest's seal, or their hashes where it has none."""
    hashes = [shard.get("hash") for split in manifest["splits"].values() for shard in split["shards"]]
    return str(manifest.get("seal") or hashes)


def write_shards(
    scratch: Path,
    split: str,
    documents: Documents,
    *,
    dtype: str,
    header: str,
    shard_tokens: int,
    lengths: NDArray[Any] | None,
    progress: Report | None,
) -> dict[str, Any]:
    """Write documents as the shards of a split, in their order, and return these and the bytes of their ids."""
    of_ids = None if lengths is None else lengths.astype(np.uint32)
    return _rust.gather_documents(
        documents.files, documents.starts, documents.lengths, scratch,
        split=split, dtype=dtype, header=header, shard_tokens=shard_tokens, byte_lengths=of_ids,
        progress=told(progress, documents.tokens, "write"),
    )  # fmt: skip


def write_splits(
    scratch: Path,
    folder: Path,
    manifest: dict[str, Any],
    splits: dict[str, tuple[Documents, int]],
    made: dict[str, Any],
    *,
    val: float,
    shard_tokens: int,
    progress: Report | None,
) -> dict[str, Any]:
    """Write a folder of shards with the tokenizer and the settings of one that stands, and return its manifest.

    Args:
        scratch: Where they are written.
        folder: The folder whose tokenizer they have, and `manifest` what it says.
        manifest: See above.
        splits: Documents of each split, and the bytes of text that they are thought to have. Where the tokenizer knows
            what each id stands for, these are counted instead.
        made: What the new manifest says they were made of.
        val: The share that was kept for validation.
        shard_tokens: About how many tokens a shard gets.
        progress: Told about five times a second.
    """
    for name in BESIDE:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, scratch / name)
    lengths, eot = _lengths(folder, manifest["tokenizer"]), manifest.get("eot")
    described = {}
    for name, (documents, text_bytes) in splits.items():
        written = write_shards(
            scratch, name, documents, dtype=manifest["dtype"], header=manifest.get("header", "none"),
            shard_tokens=shard_tokens, lengths=lengths, progress=progress,
        )  # fmt: skip
        ended = len(documents) - (eot is not None and documents.last_id() not in (None, eot))
        if lengths is not None:
            text_bytes = written["text_bytes"] - ended * (0 if eot is None else int(lengths[eot]))
        described[name] = {
            "tokens": documents.tokens, "documents": ended, "text_bytes": text_bytes, "shards": written["shards"],
        }  # fmt: skip
    kept = {key: value for key, value in manifest.items() if key not in ("beside", "seal")}
    # chosen from shards, not from text: the rule of text does not hold for them
    settings = {**manifest["settings"], "validation": val, "shard_tokens": shard_tokens, "limit": None, "rule": "none"}
    new = {**kept, "splits": described, "settings": settings, "made": made}
    return _rust.seal_shards(scratch, json.dumps(new))


def _lengths(folder: Path, identity: str) -> NDArray[Any] | None:
    """Return how many bytes of a text each id took, as its writer counted them; None where nobody knows."""
    from pylm.data.open import tokenizer_of

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PylmWarning)  # what others make of the tokenizer changes no bytes
        try:
            tokenizer = tokenizer_of(str(folder))
        except PylmError:  # such as a package that only it needs: its ids can be copied all the same
            return None
    return None if tokenizer is None or tokenizer.identity != identity else tokenizer.backend.byte_lengths()


def check_share(name: str, share: Any, least_is_none: bool) -> float:
    """Return a share of documents, refused where it is none."""
    if (
        isinstance(share, bool)
        or not isinstance(share, int | float)
        or not 0 <= share < 1
        or (not share and not least_is_none)
    ):
        below = "from 0 (none) to below 1" if least_is_none else "above 0 and below 1"
        raise UsageError(f"{name} is {share!r}", f"give a share {below}: {param(name, 0.05)}")
    return float(share)


def check_tokens(name: str, value: Any) -> int:
    """Return a number of tokens, which may be written as `1B`."""
    from pylm.config.units import parse_count

    try:
        number = parse_count(value) if isinstance(value, str) else value
    except ValueError as error:
        raise UsageError(f"{name}: {error}", f"write it as {param(name, '100M')}") from None
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise UsageError(f"{name} is {value!r}", f"give a whole number of tokens: {param(name, '100M')}")
    return number


def val_of(hashes: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Return which documents a share of them falls to, by the hash of what each one holds and by nothing else."""
    is_val: NDArray[np.bool_] = hashes < np.uint64(min(int(share * 2**64), 2**64 - 1))
    return is_val


def told(progress: Report | None, total: int, phase: str) -> Callable[[int], object] | None:
    """Return what is called with the tokens that are done."""
    return None if progress is None else lambda done: progress(done, total, phase=phase, unit="tokens")
