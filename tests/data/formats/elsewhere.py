"""A file that lies elsewhere, as `pylm._rust` asks for it, which notes what it was asked for."""

from __future__ import annotations

import threading
from pathlib import Path

__all__ = ["Elsewhere"]


class Elsewhere:
    """Ranges of a file here, under another name."""

    def __init__(self, path: Path | str, name: str | None = None) -> None:
        """Serve the bytes that the file has now."""
        self._bytes = Path(path).read_bytes()
        self.name = name or f"hub:org/set@1234:{Path(path).name}"
        self.size = len(self._bytes)
        self.identity = f"{hash(self._bytes):x}"
        self.asked: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def read(self, start: int, length: int) -> bytes:
        """Return the bytes, exactly so many."""
        assert start >= 0 and length > 0 and start + length <= self.size
        with self._lock:
            self.asked.append((start, length))
        return self._bytes[start : start + length]

    @property
    def on_the_wire(self) -> int:
        """How many bytes were asked for."""
        return sum(length for _, length in self.asked)
