"""click types for numbers as people type them: `--shard-tokens 100M`, `--memory 2G`, `--max-time 2h`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

__all__ = ["BYTES", "COUNT", "DURATION", "SHARE"]

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]  # a plain class before click 8.4
else:
    ParamType = click.ParamType


class _Read(ParamType):
    """A value read by a function that raises ValueError with a sentence."""

    def __init__(self, name: str, read: Callable[[str], Any], least: float = 0) -> None:
        self.name = name
        self.read = read
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            read = self.read(value)
        except (ValueError, OverflowError) as error:
            self.fail(str(error), param, ctx)
        if read < self.least:
            self.fail(f"{value} is less than {self.least}", param, ctx)
        return read


def _count(text: str) -> int:
    from pylm.config.units import parse_count

    return parse_count(text)


def _bytes(text: str) -> int:
    from pylm.config.units import parse_bytes

    return parse_bytes(text)


def _duration(text: str) -> float:
    from pylm.config.units import parse_duration

    return parse_duration(text)


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share < 1:  # which nan is not either
        raise ValueError(f"{text} is no share: it is at least 0 and below 1")
    return share


COUNT = _Read("count", _count)
BYTES = _Read("bytes", _bytes)
DURATION = _Read("time", _duration)
SHARE = _Read("share", _share)
