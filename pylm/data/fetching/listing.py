"""The files of a commit: listed once, page by page, and kept by its hash, which never lists others."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pylm.data.fetching.answers import Headers
from pylm.data.fetching.client import Client, joined
from pylm.durable import replace_text
from pylm.errors import DataError

__all__ = ["Listed", "Remembered", "list_commit"]

PAGES = 1000


@dataclass(frozen=True)
class Listed:
    """A file of a commit, as the Hub lists it."""

    path: str
    size: int
    git_sha1: str | None
    sha256: str | None


def list_commit(client: Client, url: str, name: str) -> tuple[Listed, ...]:
    """Return the files of a commit from all pages of its listing."""
    files: list[Listed] = []
    following: str | None = f"{url}?recursive=true&expand=false&limit={PAGES}"
    for _ in range(PAGES):
        if following is None:
            return tuple(files)
        entries, headers = client.json(following, f"the listing of {name}")
        files += _files_of(entries, name)
        following = _next_page(following, headers)
    raise DataError(f"the listing of {name} does not end", f"it has more than {PAGES} pages")


def _files_of(entries: Any, name: str) -> Iterator[Listed]:
    try:
        for entry in entries:
            if entry["type"] == "file":
                large = entry.get("lfs") or {}
                oid = None if large else str(entry["oid"])
                sha256 = str(large["oid"]).removeprefix("sha256:") if large else None
                yield Listed(_safe(str(entry["path"]), name), int(large.get("size", entry["size"])), oid, sha256)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError(f"the listing of {name} is not one of the Hub's", "is HF_ENDPOINT a Hub?") from None


def _safe(path: str, name: str) -> str:
    """Refuse a path that would lead out of the folder that it is written to."""
    if not _leads_inside(path):
        raise DataError(f"the listing of {name} has the path {path!r}, which leads elsewhere", "nothing was fetched")
    return path


def _leads_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not (path.startswith("/") or ".." in parts or re.search(r"[\\\x00-\x1f\ud800-\udfff]", path))


def _kept(path: str, size: int, git_sha1: str | None, sha256: str | None) -> Listed:
    """Return a file of a listing that was kept; ValueError where the disk has changed it into something else."""
    hashes = [value for value in (git_sha1, sha256) if value is not None]
    if not (
        _leads_inside(path) and type(size) is int and size >= 0 and all(isinstance(value, str) for value in hashes)
    ):
        raise ValueError(f"{path!r} is no file")
    return Listed(path, size, git_sha1, sha256)


def _next_page(url: str, headers: Headers) -> str | None:
    match = re.search(r'<([^>]+)>\s*;\s*rel="?next"?', headers.get("Link") or "")
    return joined(url, match[1]) if match else None


class Remembered:
    """Listings by commit, and the commits that branches were at, in a folder of pylm's cache."""

    def __init__(self, folder: Path | None) -> None:
        """Without a folder nothing is remembered."""
        self.folder = folder

    def listing(self, sha: str) -> tuple[Listed, ...] | None:
        """Return the listing of a commit, None where it was never asked for."""
        with suppress(TypeError, ValueError):
            entries = self._read(f"{sha}.json")
            return tuple(_kept(*entry) for entry in entries) if isinstance(entries, list) else None
        return None

    def keep_listing(self, sha: str, files: tuple[Listed, ...]) -> None:
        """Remember the listing of a commit."""
        self._write(f"{sha}.json", [astuple(file) for file in files])

    def sha(self, revision: str) -> str | None:
        """Return the commit that a branch was at, None where it was never asked for."""
        known = self._read("revisions.json")
        sha = known.get(revision) if isinstance(known, dict) else None
        return sha if isinstance(sha, str) and re.fullmatch(r"[0-9a-f]{40}", sha) else None

    def keep_sha(self, revision: str, sha: str) -> None:
        """Remember the commit that a branch is at."""
        known = self._read("revisions.json")
        known = known if isinstance(known, dict) else {}
        if known.get(revision) != sha:
            self._write("revisions.json", known | {revision: sha})

    def _read(self, name: str) -> Any:
        if self.folder is None:
            return None
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _write(self, name: str, value: Any) -> None:
        if self.folder is None:
            return
        with suppress(OSError):  # a cache that cannot be had costs a request the next time
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_text(self.folder / name, json.dumps(value), self.folder / f".{name}.{os.getpid()}")
