"""What is learned and what comes before it, in two colours; where colours are not wanted, between brackets."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from pylm.cli.frame.printing import plain_wanted

__all__ = ["masked_line", "masked_text"]


def masked_line(line: str, is_learned: bool) -> str:
    """Return a line as learned or not."""
    if plain_wanted(sys.stdout):
        return f"{'+' if is_learned else ' '} {line}"
    return _painted(line, is_learned)


def masked_text(parts: Iterable[tuple[str, bool]]) -> str:
    """Return a text of parts, each with whether it is learned."""
    plain = plain_wanted(sys.stdout)
    return "".join(
        (f"[[{text}]]" if learned else text) if plain else _painted(text, learned) for text, learned in parts
    )


def _painted(text: str, is_learned: bool) -> str:
    return click.style(text, fg="green") if is_learned else click.style(text, dim=True)
