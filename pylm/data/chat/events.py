"""What preparing examples says on its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ExamplesPrepared", "ExamplesRead"]


@dataclass(frozen=True)
class ExamplesRead:
    """So many examples have been read and masked."""

    examples: int


@dataclass(frozen=True)
class ExamplesPrepared:
    """The examples lie as shards with masks.

    Attributes:
        folder: Where.
        examples: How many, by split.
        tokens: How many tokens they have, by split.
        counted: How many of these count as targets, by split.
        counts: What became of those that were read: `examples`, `cut`, `dropped`, `crossed`.
        template: The name of the template, None where none was used.
        labels: The labels of a dataset that has them.
    """

    folder: Path
    examples: Mapping[str, int]
    tokens: Mapping[str, int]
    counted: Mapping[str, int]
    counts: Mapping[str, int]
    template: str | None
    labels: tuple[str, ...]
