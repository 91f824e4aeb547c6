"""A checkpoint in shards becomes the usual folder, in place."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pylm.checkpoint.directory import (
    MANIFEST,
    OPTIMIZER,
    PARTIAL,
    Checkpoint,
    hashes_of,
    manifest_of,
    read,
    verify,
    weights_file,
)
from pylm.checkpoint.sharded import SHARD
from pylm.checkpoint.tensors import write_tensors
from pylm.durable import flush_folder, replace_text

__all__ = ["consolidate"]


def consolidate(path: Path) -> bool:
    """Join the shards of a checkpoint, and return whether there were any: one that is whole stays as it is.

    The whole files are written beside the shards, then the manifest is replaced, which says what counts, then the
    shards go. Wherever that is killed, the folder holds the checkpoint, in shards or whole, and another call ends it.
    """
    checkpoint = verify(path)
    sharded = checkpoint.in_shards
    if sharded:
        _make_whole(checkpoint)
    for entry in path.iterdir():
        if SHARD.fullmatch(entry.name):
            entry.unlink()
    flush_folder(path)
    read(path)
    return sharded


def _make_whole(checkpoint: Checkpoint) -> None:
    """Write the whole files of a checkpoint in shards, and the manifest that names them instead."""
    path, named = checkpoint.path, weights_file(checkpoint.state)
    tensors = {OPTIMIZER: checkpoint.optimizer(), named: checkpoint.weights()}
    hashes = {name: hashed for name, hashed in hashes_of(path).items() if not SHARD.fullmatch(name)}
    files = [name for name in tensors if tensors[name]]
    try:
        for name in files:
            metadata = {"format": "pt"} if name == named else None
            hashes[name] = write_tensors(path / f"{PARTIAL}{name}", tensors[name], metadata)
        for name in files:
            (path / f"{PARTIAL}{name}").replace(path / name)
        flush_folder(path)
        replace_text(path / MANIFEST, manifest_of(path, hashes), path / f"{PARTIAL}{MANIFEST}")
    except BaseException:
        for name in (*files, MANIFEST):
            with suppress(OSError):
                (path / f"{PARTIAL}{name}").unlink(missing_ok=True)
        raise
