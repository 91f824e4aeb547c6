"""The hash that a file's publisher gives: SHA-256, as LFS names contents, or git's own SHA-1 of them."""

from __future__ import annotations

import hashlib

from pylm.errors import DataError

__all__ = ["Checksum"]


class Checksum:
    """Takes a content block by block and says whether it is the published one."""

    def __init__(self, name: str, size: int | None, sha256: str | None, git_sha1: str | None) -> None:
        """`name` is the file's; git's hash begins with the size. Without either hash, nothing is checked."""
        self.name = name
        self.kind = "SHA-256" if sha256 or not git_sha1 else "git hash"
        self.published = sha256 or git_sha1
        self._hash = hashlib.sha256() if self.kind == "SHA-256" else hashlib.sha1(b"blob %d\0" % (size or 0))

    def update(self, block: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._hash.update(block)

    def is_right(self) -> bool:
        """Say whether what was taken is what was published, as far as its hash is known."""
        return self.published in (None, self._hash.hexdigest())

    def error(self) -> DataError:
        """Return what is said of a wrong content: the file and both hashes."""
        return DataError(
            f"{self.name} came with another content: its {self.kind} is {self._hash.hexdigest()}, "
            f"and {self.published} was published",
            "something between here and there changes files (a proxy, a mirror, HF_ENDPOINT); nothing wrong was kept",
        )
