"""Weights against the hashes of their manifest, once a file: a flipped bit would write other text and say nothing.

What was found sound is remembered in the cache folder by device, inode, size and times of change, so that a second
opening hashes nothing; a file that was written to is another one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from pylm.cache import cache_folder
from pylm.errors import CheckpointError
from pylm.wording import param

__all__ = ["check_files"]

MOST_REMEMBERED = 4096  # files; the oldest go
SLOW_BYTES = 2 << 30  # hashing more bytes than that takes seconds, and is announced
BLOCK = 1 << 22
NOT_READ = ("optimizer.safetensors",)  # files that are not read by whoever only writes text


def check_files(folder: Path, say: Callable[[str], None] = lambda text: None) -> None:
    """Hash the files of a checkpoint of ours that were not hashed before; raise for one that is not as written."""
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    unknown = []
    for name, entry in files.items():
        mark = _mark(folder / name, str(entry["blake2b"]))
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
            _remember(mark)


def _mark(path: Path, wanted: str) -> Path | None:
    """Return the empty file that says that a file, as it is, has the wanted hash; None where nothing is remembered."""
    now = path.stat()
    cache = cache_folder()
    if cache is None:
        return None
    facts = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns, wanted)
    return cache / "verified" / hashlib.blake2b(repr(facts).encode(), digest_size=20).hexdigest()


def _remember(mark: Path) -> None:
    """Note that a hash was right.

    A cache folder that cannot be written to costs the next opening another hashing, and nothing else.
    """
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        marks = list(mark.parent.iterdir())
        if len(marks) >= MOST_REMEMBERED:
            marks.sort(key=lambda other: other.stat().st_mtime_ns)
            for old in marks[: len(marks) // 2]:
                old.unlink(missing_ok=True)
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT, 0o644))
    except OSError:
        pass
