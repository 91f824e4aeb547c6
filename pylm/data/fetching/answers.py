"""What the headers of an answer say of a file: its hash, its size, the range of it that came."""

from __future__ import annotations

import re
from typing import Protocol

__all__ = ["Headers", "count_of", "etag_of", "hashes_of", "range_of", "size_of"]


class Headers(Protocol):
    """The headers of an answer, by names in any case."""

    def get(self, name: str, /) -> str | None:
        """Return a header, None where it is not there."""


SHA256, SHA1 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


def etag_of(headers: Headers, name: str = "ETag") -> str | None:
    """Return an entity tag without quotes and without the mark of a weak one."""
    return (headers.get(name) or "").strip().removeprefix("W/").strip('"') or None


def hashes_of(first: Headers) -> tuple[str | None, str | None]:
    """Return the SHA-256 or the git hash that the Hub's own answer gives: never those of where it redirects to."""
    linked, own = etag_of(first, "X-Linked-Etag"), etag_of(first)
    if linked and SHA256.fullmatch(linked):
        return linked, None
    is_hub = first.get("X-Repo-Commit") is not None
    return None, own if is_hub and own and SHA1.fullmatch(own) else None


def range_of(headers: Headers) -> tuple[int | None, int | None]:
    """Return where the range of a 206 begins and the size of the whole, from `bytes 0-99/1234`."""
    match = re.fullmatch(r"bytes (\d{1,18})-\d+/(\d{1,18}|\*)", (headers.get("Content-Range") or "").strip())
    if match:
        return int(match[1]), int(match[2]) if match[2] != "*" else None
    beyond = re.fullmatch(r"bytes \*/(\d{1,18})", (headers.get("Content-Range") or "").strip())
    return None, int(beyond[1]) if beyond else None


def size_of(first: Headers) -> int | None:
    """Return the size that the Hub gives of what it redirects to."""
    return count_of(first, "X-Linked-Size")


def count_of(headers: Headers, name: str) -> int | None:
    """Return a number of bytes, None where a header is none."""
    text = headers.get(name) or ""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None
