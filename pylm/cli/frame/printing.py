"""What is printed, and how: JSON, errors in the words of the command line, colour where a terminal wants it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import IO

import click

from pylm.errors import PylmError
from pylm.wording import in_options

__all__ = ["as_typed", "drawn_on", "plain_wanted", "print_json", "say"]


def drawn_on(stream: IO[str]) -> bool:
    """Say whether lines can be drawn anew on a stream: it is a terminal, and no dumb one."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def plain_wanted(stream: IO[str]) -> bool:
    """Say whether a stream wants no colour: no terminal, or NO_COLOR (https://no-color.org) or a dumb TERM is set."""
    return not drawn_on(stream) or "NO_COLOR" in os.environ


def say(text: str) -> None:
    """Tell whoever looks, on stderr, what a room has to say, its parameters as options."""
    click.echo(in_options(text), err=True)


def print_json(value: object) -> None:
    """Print one JSON document; infinities and NaN, which JSON does not have, become null."""
    click.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False, default=str))


def _finite(value: object) -> object:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def as_typed(error: PylmError) -> tuple[str, str | None]:
    """Return an error's sentence and hint with its parameters as the options that they are here."""
    message, hint = error.marked
    return in_options(message), None if hint is None else in_options(hint)
