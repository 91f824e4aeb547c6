"""glibc's heap in figures: where tensors of given sizes come to lie, and how far it grows.

Memory that was freed is kept (torch_backend.machine.keep_memory), so what a process holds is how far its heap ever
reached, and not what was live. The two differ by a tenth and more: a free place serves only what fits into it, and an
aligned tensor asks for 96 bytes more than it takes, and so does not fit where one of its own size lay.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

__all__ = ["Heap", "Place"]

EXTRA = 96  # bytes that malloc is asked for beside those of an aligned tensor: alignment, a header, the least chunk
ALIGNMENT = 64
PIECE = 256  # bytes; glibc keeps some of what is small, where it lies, for whoever asks for that size next
SMALL = 1024  # bytes; such tensors lie in places of their own

Place = tuple[int, int, str]  # its start and size, and what it is for


class Heap:
    """A heap that takes the smallest free place that is large enough, and else grows at its top."""

    def __init__(self) -> None:
        """Begin empty."""
        self.peak = self.live_peak = 0
        self.parts: Counter[str] = Counter()  # live bytes, by what they are for
        self.parts_at_peak: dict[str, int] = {}
        self._top = self._live = self._pinned = 0
        self._starts: list[int] = []  # of the free places below the top, in order
        self._ends: list[int] = []

    def take(self, part: str, size: float) -> Place:
        """Return a place for so many bytes."""
        if size < SMALL:
            return 0, 0, part
        wanted = -(-int(size) // ALIGNMENT) * ALIGNMENT
        start = self._take_free(wanted)
        if start is None:
            start, self._top = self._top, self._top + wanted
            self.peak = max(self.peak, self._top)
        self._live += wanted
        self.parts[part] += wanted
        if self._live > self.live_peak:
            self.live_peak, self.parts_at_peak = self._live, dict(self.parts)
        return start, wanted, part

    def give(self, *places: Place) -> None:
        """Free places."""
        for start, size, part in places:
            if size:
                self._live -= size
                self.parts[part] -= size
                self._free(start, start + size)

    def pin(self) -> None:
        """Leave a piece at the top that stays: what is freed beside it is not joined across it."""
        if self._pinned != self._top:
            self._pinned = self._top = self._top + PIECE

    def _take_free(self, wanted: int) -> int | None:
        """Return the start of the smallest free place that holds so much; the rest of it stays free."""
        sizes = [(end - start, at) for at, (start, end) in enumerate(zip(self._starts, self._ends, strict=True))
                 if end - start >= wanted + EXTRA]  # fmt: skip
        if not sizes:
            return None
        at = min(sizes)[1]
        start = self._starts[at]
        self._starts[at] += wanted
        return start

    def _free(self, start: int, end: int) -> None:
        """Free from start to end, joined with what is free beside it."""
        at = bisect_left(self._starts, start)
        if at < len(self._starts) and self._starts[at] == end:
            end = self._ends.pop(at)
            del self._starts[at]
        if at and self._ends[at - 1] == start:
            start = self._starts.pop(at - 1)
            del self._ends[at - 1]
            at -= 1
        if end == self._top:
            self._top = start
        else:
            self._starts.insert(at, start)
            self._ends.insert(at, end)
