"""Weights against the hashes of their manifest, once a file: a flipped bit would write other text and say nothing.

What was found sound is remembered (pylm/checkpoint/verified.py).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from pylm.checkpoint.verified import mark_of, remember
from pylm.errors import CheckpointError
from pylm.wording import param

__all__ = ["check_files"]

SLOW_BYTES = 2 << 30  # hashing more bytes than that takes seconds, and is announced
BLOCK = 1 << 22
NOT_READ = ("optimizer.safetensors",)  # files that are not read by whoever only writes text


def check_files(folder: Path, say: Callable[[str], None] = lambda text: None) -> None:
    """Hash the files of a checkpoint of ours that were not hashed before; raise for one that is not as written."""
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    unknown = []
    for name, entry in files.items():
        mark = mark_of(folder / name, str(entry["blake2b"]))
        if name not in NOT_READ and not (mark and os.path.exists(mark)):
            unknown.append((folder / name, str(entry["blake2b"]), mark))
    total = sum(path.stat().st_size for path, _, _ in unknown)
    if total > SLOW_BYTES:
        say(f"checking {total / 1e9:.1f} GB against the manifest, once ({param('verify', False)} leaves it out)")
    for path, wanted, mark in unknown:
        digest = hashlib.blake2b(digest_size=32)
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        if digest.hexdigest() != wanted:
            run = folder.parent.parent if folder.parent.name == "checkpoints" else folder
            raise CheckpointError(
                f"{path} is damaged: its BLAKE2b is {digest.hexdigest()[:16]}…, the manifest says {wanted[:16]}…",
                f"pylm verify {run} names the newest sound checkpoint; "
                f"{param('verify', False)} takes this one as it is",
            )
        if mark is not None:
            remember(mark)
