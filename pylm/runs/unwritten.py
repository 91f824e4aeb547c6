"""The folder of a run as all processes see it but the first, which alone writes there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pylm.runs.folder import LINES, RunFolder
from pylm.runs.lines import Lines

__all__ = ["Unwritten"]


class _NoLines(Lines):
    """Lines that somebody else appends."""

    def append(self, record: Mapping[str, Any]) -> None:
        """Do nothing."""

    def cut_back(
        self,
        step: int,
        also: Callable[[Mapping[str, Any]], bool] = lambda record: False,
        gone: list[dict[str, Any]] | None = None,
    ) -> int:
        """Do nothing."""
        return 0


class Unwritten(RunFolder):
    """Has the ways of a RunFolder, and neither its lock nor its files."""

    def __init__(self, path: Path) -> None:
        """Make nothing."""
        self.path = path
        self.metrics, self.incidents, self.samples = (_NoLines(path / name) for name in LINES)

    def write(self, name: str, text: str) -> None:
        """Do nothing."""

    def check(self) -> None:
        """Do nothing: whoever writes there sees that it is gone."""

    def environment(self, facts: Mapping[str, Any]) -> None:
        """Do nothing."""

    def cut_back(
        self, step: int, evaluated: int | None = None, sampled: int | None = None, asked: int | None = None
    ) -> int:
        """Do nothing."""
        return 0

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
