"""One large file over several connections: ranges of it side by side, recorded piece by piece, hashed in order."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from pylm.data.fetching.checksum import Checksum
from pylm.data.fetching.partial import Part, Span
from pylm.data.fetching.remote_file import RemoteFile

__all__ = ["RangedDownload"]

BLOCK = 1 << 20  # bytes that are hashed at once: they stay in the second cache
HEARTBEAT = 0.2  # seconds between two words on progress
PARTING = 2.0  # seconds that connections get to end after Ctrl-C; they end with the process anyway


class Stopped(Exception):
    """Another thread failed, or Ctrl-C was pressed."""


class RangedDownload:
    """Fills what a Part lacks. What is not recorded yet is never more than `piece`, so a kill costs no more.

    Each connection takes one range after the other and cuts it into steps; with `connections` steps on their way and
    as many that wait to be recorded, all of them together are a piece.
    """

    def __init__(
        self, file: RemoteFile, part: Part, connections: int, piece: int, report: Callable[[int], None]
    ) -> None:
        """`report` is told the bytes that are there."""
        self.file, self.part, self.connections, self.report = file, part, connections, report
        self.step = max(1, piece // (2 * connections))
        self.piece = piece
        self.checksum: Checksum = file.checksum()
        self.hashed = 0
        self.here = part.size - part.lacking

    def run(self, are_ranges_served: bool = True) -> Checksum:
        """Fetch what is missing and return the hash of the whole; RangesIgnored where the server sends no ranges."""
        self.farthest = -1 if are_ranges_served else None
        self.stop = threading.Event()
        self.news = threading.Event()
        # lists that connections append to, so that Ctrl-C loses nothing on the way from one thread to the other
        self.done: list[Span] = []
        self.errors: list[BaseException] = []
        self.recorded = 0
        self.endings: list[int] = []
        self.permits = threading.Semaphore(2 * self.connections)
        self.waiting = self._ranges() if are_ranges_served else self._rest()
        self.counts = [0] * self.connections
        workers = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(self.connections)]
        hasher = threading.Thread(target=self._hash, daemon=True)
        self.grown = threading.Condition()
        for thread in (*workers, hasher):
            thread.start()
        try:
            self._keep()
            hasher.join()
        except BaseException:
            self._end(workers)
            raise
        return self.checksum

    # this thread: records what came

    def _keep(self) -> None:
        """Record steps until every connection has ended."""
        is_running = True
        while is_running:
            self.news.wait(HEARTBEAT)
            self.news.clear()
            is_running = len(self.endings) < self.connections  # before their last steps are looked for
            if self.errors:
                raise self.errors[0]
            if spans := self.done[self.recorded :]:
                self.part.record(spans)
                self.recorded += len(spans)
                self.permits.release(len(spans))
                with self.grown:
                    self.grown.notify()
            self.report(min(self.here + sum(self.counts), self.part.size))

    def _end(self, workers: list[threading.Thread]) -> None:
        """Let the connections end, and record what they brought."""
        self.stop.set()
        with self.grown:
            self.grown.notify()
        until = time.monotonic() + PARTING
        for worker in workers:
            worker.join(max(0.0, until - time.monotonic()))
        if spans := self.done[self.recorded :]:
            with suppress(OSError):
                self.part.record(spans)

    # a thread for each connection

    def _ranges(self) -> list[Span]:
        """Return the ranges to ask for, the last first.

        They begin small and end small, and are a piece in between: what is hashed, in order, is never far behind.
        """
        cut: list[Span] = []
        missing = self.part.spans.missing(self.part.size)
        before, after = 0, self.part.lacking
        for start, end in missing:
            while start < end:
                length = min(max(self.step, min(before, after) // self.connections), self.piece, end - start)
                cut.append((start, start + length))
                start, before, after = start + length, before + length, after - length
        return cut[::-1]

    def _rest(self) -> list[Span]:
        """Return all from the first missing byte on, as one answer brings it."""
        missing = self.part.spans.missing(self.part.size)
        return [(missing[0][0], self.part.size)] if missing else []

    def _work(self, number: int) -> None:
        try:
            with self.part.path.open("r+b", buffering=0) as out:
                while True:
                    try:
                        start, end = self.waiting.pop()
                    except IndexError:
                        break
                    self._fill(number, out.fileno(), start, end)
        except Stopped:
            pass
        except BaseException as error:
            self.errors.append(error)
        self.endings.append(number)
        self.news.set()

    def _fill(self, number: int, handle: int, start: int, end: int) -> None:
        """Write one range; each step of it is told when it is whole, the last also where it is not."""
        at = begun = start
        self._permit()
        try:
            for block in self.file.blocks(start, end, farthest=self.farthest):
                view = memoryview(block)
                while view:
                    if self.stop.is_set():
                        raise Stopped
                    written = os.pwrite(handle, view[: begun + self.step - at], at)
                    view, at = view[written:], at + written
                    self.counts[number] += written
                    if at == begun + self.step and at < end:
                        self._tell(begun, at)
                        begun = at
                        self._permit()
        finally:
            if at > begun:
                self._tell(begun, at)

    def _tell(self, start: int, end: int) -> None:
        self.done.append((start, end))
        self.news.set()

    def _permit(self) -> None:
        while not self.permits.acquire(timeout=HEARTBEAT):
            if self.stop.is_set():
                raise Stopped

    # a thread that hashes

    def _hash(self) -> None:
        """Hash from the first byte on as far as the file has come: read from memory, where it was just written."""
        buffer = bytearray(BLOCK)
        with self.part.path.open("rb", buffering=0) as file:
            file.seek(self.hashed)
            while self.hashed < self.part.size:
                with self.grown:
                    while (frontier := self.part.spans.frontier()) == self.hashed and not self.stop.is_set():
                        self.grown.wait(HEARTBEAT)
                if self.stop.is_set():
                    return
                while self.hashed < frontier and not self.stop.is_set():
                    count = file.readinto(memoryview(buffer)[: frontier - self.hashed])
                    if not count:  # somebody cut the part short: its hash will not be the published one
                        return
                    self.checksum.update(memoryview(buffer)[:count])
                    self.hashed += count
