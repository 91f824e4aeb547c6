"""A file on its way: `.part` has its bytes, `.part.json` says which of them; both outlive the process."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from pylm.durable import flush_folder, naming, replace_text

__all__ = ["Part", "Spans"]

Span = tuple[int, int]  # the first byte, and the one after the last


class Spans:
    """Bytes of a file that are there."""

    def __init__(self, spans: list[Span]) -> None:
        """Take spans in any order, also such that touch or overlap."""
        self.spans: list[Span] = []
        for start, end in spans:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """Add a span."""
        apart = [span for span in self.spans if span[1] < start or span[0] > end]
        joined = [span for span in self.spans if span not in apart]
        start, end = min([start, *(a for a, _ in joined)]), max([end, *(b for _, b in joined)])
        self.spans = sorted([*apart, (start, end)]) if end > start else self.spans

    def frontier(self) -> int:
        """Return how many bytes are there from the first on without a gap."""
        return self.spans[0][1] if self.spans and self.spans[0][0] == 0 else 0

    def missing(self, size: int) -> list[Span]:
        """Return the gaps."""
        ends = [0, *(end for _, end in self.spans)]
        starts = [*(start for start, _ in self.spans), size]
        return [(a, b) for a, b in zip(ends, starts, strict=True) if a < b]


class Part:
    """The two files beside the one that is to come, held by one process at a time."""

    def __init__(self, to: Path, identity: str, size: int, say: Callable[[str], None]) -> None:
        """`identity` and `size` are those of the content: what is left of another one is begun anew."""
        self.to, self.identity, self.size, self.say = to, identity, size, say
        self.path = to.with_name(to.name + ".part")
        self.ledger = to.with_name(to.name + ".part.json")
        self.new_ledger = to.with_name(to.name + ".part.json.new")
        self.spans = Spans([])
        self.handle = -1

    @property
    def lacking(self) -> int:
        """How many of its bytes are still to come."""
        return sum(end - start for start, end in self.spans.missing(self.size))

    def __enter__(self) -> Part:
        """Take the files, after another process that has them has let go of them."""
        while True:
            self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                self._lock()
                if self._is_same_file():
                    break
            except BaseException:
                os.close(self.handle)
                raise
            os.close(self.handle)  # whoever had it has finished: `.part` got its name
        self.spans = Spans(self._recorded())
        if not self.spans.spans:
            os.ftruncate(self.handle, 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of them; what is there stays for the next time."""
        if not self.spans.spans and self._is_same_file():
            self.discard()
        os.close(self.handle)

    def record(self, spans: list[Span]) -> None:
        """Make bytes durable, then say that they are there: never the other way round."""
        with naming(self.path):
            os.fsync(self.handle)
        for start, end in spans:
            self.spans.add(start, end)
        content = {"identity": self.identity, "size": self.size, "spans": self.spans.spans}
        replace_text(self.ledger, json.dumps(content), self.new_ledger)

    def finish(self) -> None:
        """Give the file its name, durably; only one whose content was checked."""
        with naming(self.path):
            os.ftruncate(self.handle, self.size)
            os.fsync(self.handle)
        os.replace(self.path, self.to)
        self._forget()
        flush_folder(self.to.parent)

    def discard(self) -> None:
        """Take away what is there: it is wrong, or nothing."""
        self.spans = Spans([])
        self._forget()
        self.path.unlink(missing_ok=True)

    def _forget(self) -> None:
        for path in (self.ledger, self.new_ledger):
            path.unlink(missing_ok=True)

    def _lock(self) -> None:
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.say(f"another process fetches {self.to}: waiting for it")
            fcntl.flock(self.handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # file systems without locks: alone, as most are
                raise

    def _is_same_file(self) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self.handle), os.stat(self.path))
        return False

    def _recorded(self) -> list[Span]:
        """Return what the ledger says, as far as it is of this content and the bytes are there."""
        try:
            content: Any = json.loads(self.ledger.read_text(encoding="utf-8"))
            if content["identity"] != self.identity or content["size"] != self.size:
                return []
            here = os.fstat(self.handle).st_size
            return [(int(a), min(int(b), here)) for a, b in content["spans"] if 0 <= a < min(b, here)]
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return []
