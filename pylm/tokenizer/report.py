"""Who is told how far long work has come."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Report"]


class Report(Protocol):
    """A listener that takes how far the work has come; the command line's progress bar is one."""

    def __call__(
        self,
        done: float,
        total: float | None = None,
        *,
        phase: str | None = None,
        unit: str | None = None,
        note: str = "",
    ) -> None:
        """Take what is done, of how much, in which phase."""
