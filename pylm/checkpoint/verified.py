"""Files whose hash was found right, remembered: a second opening hashes nothing.

They are known in the cache folder by device, inode, size and times of change; a file that was written to is another
one. A file that changed a moment ago is not remembered: written to again within a tick of the clock, which is 4 ms on
most, it would look the same.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from pylm.cache import cache_folder

__all__ = ["A_MOMENT", "mark_of", "remember"]

MOST_REMEMBERED = 4096  # files; the oldest go
A_MOMENT = 0.1  # seconds; the slowest of clocks ticks every 10 ms


def mark_of(path: Path, wanted: str) -> Path | None:
    """Return the empty file that says that a file, as it is, has the wanted hash; None where nothing is remembered."""
    now = path.stat()
    cache = cache_folder()
    if cache is None or time.time() - now.st_ctime < A_MOMENT:
        return None
    facts = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns, wanted)
    return cache / "verified" / hashlib.blake2b(repr(facts).encode(), digest_size=20).hexdigest()


def remember(mark: Path) -> None:
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
