"""What tuning says of itself before training speaks: each is a sentence, with its figures beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pylm.training.events import Note

__all__ = ["Derived", "Grown", "Prepared"]


@dataclass(frozen=True)
class Prepared(Note):
    """The examples are a folder of tokens; `counts` says what became of those that were read."""

    folder: Path
    examples: dict[str, int]  # by split
    counts: dict[str, int]


@dataclass(frozen=True)
class Grown(Note):
    """The vocabulary has tokens that it did not have; `padding` says how many of them had rows already."""

    tokens: tuple[str, ...]
    vocab_size: int
    padding: int


@dataclass(frozen=True)
class Derived(Note):
    """The learning rate and the batch that nobody gave, from those that the base was trained with."""

    learning_rate: float | str  # as it was given, where that is a word
    peak: float | None  # the base's own; None where it does not say
    factor: float | None
    batch_tokens: int
