"""What a checkpoint is bound to: which data, and which tokenizer made it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pylm.data.folder import (
    TOKEN_FILES,
    TOKENIZER_FILES,
    damage,
    files_of_split,
    masks_of,
    read_manifest,
    read_text,
    refuse_text,
)
from pylm.errors import DataError
from pylm.wording import call, param

__all__ = ["Identity", "identify"]

SAMPLE = 1 << 16


@dataclass(frozen=True)
class Identity:
    """Data by what it holds, wherever it lies."""

    fingerprint: str
    tokenizer: str | None  # the hash of vocabulary, merges, pattern and specials; None where no tokenizer is known
    vocab_size: int | None
    texts: Mapping[str, str]  # the tokenizer's files, for checkpoints
    validation: str | None  # where the validation split is; None where there is none


def identify(data: str | Mapping[str, float], validation: str | None = None) -> Identity:
    """Say what data is.

    Args:
        data: a folder of shards or a file of tokens, or several with their weights.
        validation: another folder to validate on.
    """
    names = list(data) if isinstance(data, Mapping) else [data]
    described = [_describe(Path(name)) for name in names]
    known = {entry["tokenizer"]: name for entry, name in zip(described, names, strict=True) if entry["tokenizer"]}
    if len(known) > 1:
        first, second = list(known.values())[:2]
        raise DataError(
            f"{first} and {second} are of different tokenizers", f"tokenize both with the same {param('tokenizer')}"
        )
    text = json.dumps(
        [[entry["content"] for entry in described], list(data.values()) if isinstance(data, Mapping) else None]
    )
    held = validation if validation is not None else names[0]
    held_entry = _describe(Path(held))
    tokenizer = next(iter(known), None)
    if validation is not None and tokenizer and held_entry["tokenizer"] not in (None, tokenizer):
        raise DataError(
            f"{validation} and {names[0]} are of different tokenizers",
            f"tokenize both with the same {param('tokenizer')}",
        )
    has_split = held_entry["val"] if validation is None else True
    return Identity(
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        tokenizer=tokenizer,
        vocab_size=next((entry["vocab_size"] for entry in described if entry["vocab_size"]), None),
        texts=next((entry["texts"] for entry in described if entry["texts"]), {}),
        validation=held if has_split else None,
    )


def _describe(path: Path) -> dict[str, Any]:
    """Describe one folder or file of tokens."""
    if not path.exists():
        raise DataError(
            f"{path}: no such folder or file",
            f"name a folder that pylm tokenize wrote: {call('tokenize', 'my.txt', out='DIR')}",
        )
    if path.is_file():
        refuse_text(path)
    folder = path if path.is_dir() else path.parent
    texts = {name: read_text(folder / name) for name in TOKENIZER_FILES if (folder / name).is_file()}
    content = read_manifest(path)
    if content is not None:
        if "seal" in content:
            _refuse_changed(path)
        try:
            splits = content["splits"]
            shards = {name: [[one["tokens"], one["hash"]] for one in split["shards"]] for name, split in splits.items()}
            val = splits.get("val", {})
            tokens = int(val.get("tokens", 0))
            masks = {name: mask["blake2b"] for name, mask in masks_of(content).items()}
            return {
                "content": [content["dtype"], shards, *([masks] if masks else [])],
                "tokenizer": str(content["tokenizer"]),
                "vocab_size": content["vocab_size"],
                "texts": texts,
                "val": tokens > 0,
            }
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DataError(
                f"{path / 'manifest.json'}: damaged: {damage(error)}",
                "run pylm tokenize again, it writes what is missing",
            ) from None
    files = sorted(file for file in path.iterdir() if file.suffix in TOKEN_FILES) if path.is_dir() else [path]
    identity, vocab_size = None, None
    if "tokenizer.json" in texts:
        from pylm.tokenizer import Tokenizer

        tokenizer = Tokenizer.load(str(folder))
        identity, vocab_size = tokenizer.identity, tokenizer.vocab_size
    return {
        "content": [[file.name, file.stat().st_size, _sampled(file)] for file in files],
        "tokenizer": identity,
        "vocab_size": vocab_size,
        "texts": texts,
        "val": bool(files_of_split(path, "val")) if path.is_dir() else False,
    }


def _refuse_changed(folder: Path) -> None:
    """Refuse a folder whose manifest or tokenizer is not as it was written: a run would bind itself to it."""
    from pylm import _rust

    for name in TOKENIZER_FILES:
        if (changed := _rust.shards_changed(folder, name)) is not None:
            raise DataError(
                f"{folder}/{changed} is not as pylm tokenize wrote it",
                f"pylm data verify {folder} lists what differs; "
                f"put it back, or tokenize again with {param('force', True)}",
            )


def _sampled(path: Path) -> str:
    """Return a hash of a file's beginning, middle and end: foreign shards may be hundreds of gigabytes."""
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        for at in (0, max(size // 2 - SAMPLE // 2, 0), max(size - SAMPLE, 0)):
            file.seek(at)
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()
