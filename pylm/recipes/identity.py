"""What something is, wherever it lies: a hash of what it holds, by which steps know whether their inputs changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from pylm.checkpoint.directory import hash_of
from pylm.errors import DataError

__all__ = ["of_evaluations", "of_files", "of_input", "of_run", "of_shards", "of_soup", "of_text", "of_tokenizer"]

MANIFEST = "manifest.json"  # names where things lay, and hashes that the files have anyway


def of_files(path: Path) -> str:
    """Return the hash of a file, or of all files of a folder but its manifest, with their names."""
    return _hashed(path, lambda name: name != MANIFEST)


def of_text(folder: Path) -> str:
    """Return the hash of the texts that cleaning left."""
    return _hashed(folder, lambda name: name.startswith("text_"))


def of_tokenizer(folder: Path) -> str:
    """Return the hash of a tokenizer's files."""
    return _hashed(folder, lambda name: name.startswith("tokenizer"))


def of_shards(folder: Path) -> str:
    """Return what a folder of shards holds, by the hashes that its manifest has of each, and its tokenizer."""
    from pylm.data.identity import identify

    found = identify(str(folder))
    return _joined([found.fingerprint, str(found.tokenizer)])


def of_run(folder: Path) -> str:
    """Return what a run came to: the hashes of the weights and the optimizer of its best and its last checkpoint."""
    from pylm.checkpoint import find, read

    found = []
    for name in (f"{folder}", f"{folder}/last"):
        checkpoint = read(find(name))
        found += [f"{checkpoint.step}", checkpoint.identity]
        if (checkpoint.path / "optimizer.safetensors").exists():
            found.append(checkpoint.hash_of("optimizer.safetensors"))
    return _joined(found)


def of_soup(folder: Path) -> str:
    """Return the hash of the weights of a checkpoint, or of the files of a folder of others' layout."""
    from pylm.checkpoint import read

    return read(folder).identity if (folder / MANIFEST).exists() else of_files(folder)


def of_evaluations(path: Path) -> str:
    """Return what evaluations found, without when and where."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return _joined(json.dumps([record.get(key) for key in ("step", "metric", "value", "n")]) for record in records)


def of_input(path: Path) -> str:
    """Return what an input of the recipe's own is: shards, a checkpoint, a run, or any other files."""
    if (path / "checkpoints").is_dir():
        return of_run(path)
    if (path / "model.safetensors").exists():
        return of_soup(path)
    if path.is_dir() and _is_shards(path):
        return of_shards(path)
    return of_files(path)


def _is_shards(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["format"] == "pylm-shards")
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _hashed(path: Path, counts: Callable[[str], bool]) -> str:
    if path.is_file():
        return hash_of(path)
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and counts(file.name)]
    if not files:
        raise DataError(f"{path} holds nothing", "name a file, or a folder that has some")
    return _joined(f"{file.relative_to(path).as_posix()} {hash_of(file)}" for file in files)


def _joined(parts: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=32).hexdigest()
