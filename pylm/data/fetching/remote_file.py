"""A file that lies elsewhere: read by ranges or as a stream, through every interruption."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from pylm.data.fetching.access import shown
from pylm.data.fetching.answers import etag_of, range_of
from pylm.data.fetching.checksum import Checksum
from pylm.data.fetching.client import Answer, Client, Refused
from pylm.data.fetching.patience import Passing, Patience
from pylm.errors import DataError, PylmError

__all__ = ["RangesIgnored", "RemoteFile", "blocks_of"]

SKIPPED = 1 << 23  # bytes that are read past where a server sends the whole in place of a range


class RangesIgnored(Exception):
    """The server sends the whole file where a range of it was asked for."""


class RemoteFile:
    """A file of a repository or at an address. Its methods may be called from any number of threads.

    Attributes:
        name: what a user would call it: `hub:org/name@sha:path`, or its address.
        path: its path in the repository, or the file name of its address.
        size: its bytes, None where nobody says.
        sha256: what its content hashes to, where that is published.
        git_sha1: the hash that git gives its content, where that is published.
        identity: what tells its content from any other.
    """

    def __init__(
        self,
        client: Client,
        url: str,
        *,
        name: str,
        path: str,
        size: int | None = None,
        sha256: str | None = None,
        git_sha1: str | None = None,
        etag: str | None = None,
        local: Callable[[], Path | None] = lambda: None,
        explain: Callable[[Refused], PylmError] | None = None,
        by_xet: Callable[[Path], Path] | None = None,
    ) -> None:
        """Know a file without asking for it.

        `local` finds a copy on this machine, `explain` says why it is refused, `by_xet` puts it below a folder.
        """
        self.client, self.url = client, url
        self.name, self.path, self.size = name, path, size
        self.sha256, self.git_sha1, self.etag = sha256, git_sha1, etag
        self.identity = sha256 or git_sha1 or f"{etag or name}-{size}"
        self.local, self.by_xet = local, by_xet
        self._explain = explain
        self._lock = threading.Lock()
        self._copying = threading.Lock()
        self._is_copy_hashed, self._copy_is_right = False, True
        self._location: str | None = None  # where its address leads, None until that is known

    def __repr__(self) -> str:
        """Return its name and its size: never its address, which may be signed."""
        return f"RemoteFile({self.name!r}, size={self.size})"

    def forget(self) -> None:
        """Forget where its address led: another place may have better bytes."""
        self._location = None

    def checksum(self) -> Checksum:
        """Return what checks its content."""
        return Checksum(self.name, self.size, self.sha256, self.git_sha1)

    def is_in(self, path: Path) -> bool:
        """Say whether a file of this machine has its content."""
        checksum = self.checksum()
        for block in blocks_of(path):
            checksum.update(block)
        return checksum.is_right()

    def copy(self) -> Path | None:
        """Return a copy on this machine; its content is hashed once, and one that is wrong is none."""
        with self._copying:
            path = self.local() if self._copy_is_right else None
            if path is not None and not self._is_copy_hashed:
                self._is_copy_hashed, self._copy_is_right = True, self.is_in(path)
            return path if self._copy_is_right else None

    def read(self, start: int, length: int) -> bytes:
        """Return exactly these bytes of it."""
        if start < 0 or length < 0 or (self.size is not None and start + length > self.size):
            raise DataError(f"{self.name} has no bytes {start} to {start + length}: it has {self.size}")
        if not length:
            return b""
        if (copy := self.copy()) is not None:
            with copy.open("rb") as file:
                file.seek(start)
                block = file.read(length)
        else:
            block = b"".join(self.blocks(start, start + length, farthest=SKIPPED))
        if len(block) != length:
            raise DataError(f"{self.name} ends after {start + len(block)} bytes: more were asked for")
        return block

    def stream(self, start: int = 0) -> Iterator[bytes]:
        """Yield it block by block from a byte on; read from its beginning, its content is checked at its end."""
        checksum = self.checksum()
        copy = self.copy()
        for block in self.blocks(start, self.size) if copy is None else blocks_of(copy, start):
            if start == 0:
                checksum.update(block)
            yield block
        if start == 0 and not checksum.is_right():
            raise checksum.error()

    def blocks(self, start: int, end: int | None, *, farthest: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `start` to `end` as they come, through failures that pass.

        Args:
            start: the first byte.
            end: the byte after the last; None for the end of a file whose size nobody says.
            farthest: where a server sends the whole in place of a range, one that begins after this is asked for
                again; -1: RangesIgnored is raised. Without it, what comes before the range is read past.
        """
        at, patience = start, Patience(self.name, self.client.sleep)
        while end is None or at < end:
            try:
                asked = self._ask(at, end, farthest)
                if asked is None:
                    return
                answer, skip, total = asked
                end = total if end is None else end
                try:
                    for block in answer.blocks():
                        block, skip = block[skip : None if end is None else skip + end - at], max(0, skip - len(block))
                        if block:
                            at += len(block)
                            patience.progressed()
                            yield block
                        if at == end:
                            break
                finally:
                    answer.close()
                if end is None:
                    return
                if at < end:
                    raise Passing("the connection ended early")
            except Passing as failure:
                patience.failed(failure)

    def _ask(self, at: int, end: int | None, farthest: int | None) -> tuple[Answer, int, int | None] | None:
        """Return an answer, how many of its bytes come before `at`, and the size of the whole; None past the end."""
        is_whole = at == 0 and (end is None or end == self.size)
        last = "" if end is None or end == self.size else end - 1
        answer = self._open({} if is_whole else {"Range": f"bytes={at}-{last}"})
        try:
            total = self._checked_size(answer)
            if answer.status == 416:
                if end is None and at == total:
                    return None
                raise Passing("it says that there is no such range")
            if answer.status == 206 and range_of(answer.headers)[0] != at:
                raise Passing("it sent another range than was asked for")
            if answer.status == 200 and not is_whole:
                if farthest is not None and at > farthest:
                    raise RangesIgnored if farthest < 0 else Passing("it sends the whole where a part is asked for")
                return answer, at, total
            return answer, 0, total
        except BaseException:
            answer.close()
            raise

    def _open(self, headers: dict[str, str]) -> Answer:
        """Ask for it, where its address led the last time; that is the Hub's to say once, and not for each range."""
        location = self._location
        if location is None:
            with self._lock:
                location = self._location
                if location is None:
                    return self._find(headers)
        try:
            return self.client.once(location, headers)
        except Refused:  # signed addresses expire
            with self._lock:
                return self._find(headers)
        except Passing:
            self._location = None
            raise

    def _find(self, headers: dict[str, str]) -> Answer:
        try:
            answer = self.client.once(self.url, headers)
        except Refused as refused:
            raise self._explain(refused) if self._explain else _plainly(self.name, refused) from None
        self._location = answer.url
        return answer

    def _checked_size(self, answer: Answer) -> int | None:
        """Return the size that an answer gives; it and the entity tag are those that are known already."""
        if (answer.headers.get("Content-Encoding") or "identity") != "identity":
            raise Passing("it came compressed, which was not asked for")
        total = answer.length if answer.status == 200 else range_of(answer.headers)[1]
        if self.size is not None and total not in (None, self.size):
            raise Passing(f"it says that it has {total} bytes, and {self.size} were listed")
        if self.etag is not None and etag_of(answer.headers) not in (None, self.etag):
            raise DataError(f"{self.name} was changed while it was read", "read it again from its beginning")
        return total


def _plainly(name: str, refused: Refused) -> DataError:
    if refused.status in (404, 410):
        return DataError(f"there is no {name}: {shown(refused.url)} answered {refused.status}", "is it spelled so?")
    return DataError(f"{name} is not given out: {shown(refused.url)} answered {refused.status}")


def blocks_of(path: Path, start: int = 0) -> Iterator[bytes]:
    """Yield a file of this machine from a byte on."""
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(1 << 20):
            yield block
