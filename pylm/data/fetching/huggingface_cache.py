"""What huggingface_hub has fetched already: read first, and never written."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["HuggingFaceCache"]


class HuggingFaceCache:
    """The folder `datasets--org--name/{blobs,refs,snapshots}` of one repository in HF_HUB_CACHE."""

    def __init__(self, root: Path | None, kind: str, repository: str) -> None:
        """`root` is None for a user who has no home."""
        self.folder = None if root is None else root / "--".join([f"{kind}s", *repository.split("/")])

    def sha(self, revision: str) -> str | None:
        """Return the commit that a branch was at, when it was asked for the last time."""
        if self.folder is None:
            return None
        try:
            text = (self.folder / "refs" / revision).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
        return text if re.fullmatch(r"[0-9a-f]{40}", text) else None

    def find(self, sha: str, path: str, size: int | None, *hashes: str | None) -> Path | None:
        """Return a readable file of a commit, or of any with the same hash; None where its size is another."""
        if self.folder is None:
            return None
        places = [self.folder / "snapshots" / sha / path]
        places += [self.folder / "blobs" / one for one in hashes if one]
        for place in places:
            try:
                if place.is_file() and size in (None, place.stat().st_size) and os.access(place, os.R_OK):
                    return place
            except OSError:
                continue
        return None

    def files(self, sha: str) -> dict[str, int]:
        """Return the path and the size of each file that is here of a commit."""
        snapshot = None if self.folder is None else self.folder / "snapshots" / sha
        if snapshot is None or not snapshot.is_dir():
            return {}
        paths = sorted(path for path in snapshot.rglob("*") if path.is_file())
        return {path.relative_to(snapshot).as_posix(): path.stat().st_size for path in paths}


def huggingface_cache_folder() -> Path | None:
    """Return HF_HUB_CACHE, else the folder that huggingface_hub would take; None for a user who has no home."""
    if chosen := os.environ.get("HF_HUB_CACHE"):
        return Path(chosen).expanduser()
    try:
        home = os.environ.get("HF_HOME")
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return (Path(home).expanduser() if home else Path(cache) / "huggingface") / "hub"
    except RuntimeError:
        return None
