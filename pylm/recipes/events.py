"""What a recipe says of itself as it runs, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Began", "Ended", "Event", "Stood", "Told"]


@dataclass(frozen=True)
class Event:
    """Something that happened to a step."""

    step: str
    number: int  # counted from 1
    steps: int


@dataclass(frozen=True)
class Stood(Event):
    """The step was done before, and is not run again."""


@dataclass(frozen=True)
class Began(Event):
    """The step's command begins; `goes_on` where it was half done."""

    words: tuple[str, ...]
    goes_on: bool


@dataclass(frozen=True)
class Told(Event):
    """What the command says: the newest line of its log, now and then."""

    line: str


@dataclass(frozen=True)
class Ended(Event):
    """The step is done."""

    seconds: float
    result: Mapping[str, Any]
