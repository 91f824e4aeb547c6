"""What a terminal is given to show: sentences broken between their words, and nothing that steers it."""

from __future__ import annotations

import re
import shutil
import textwrap

__all__ = ["printable", "wrapped"]

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and newline
SUBJECT = re.compile(r"\w+ {2,}(?=\S)")
COMMAND = re.compile(r"`[^`\n]*`|(?:(?<=: )|^)pylm [a-z].*$")
HELD = "\ue000"  # stands for a space that no line ends at; of the private use area, as no sentence of ours is


def printable(text: str) -> str:
    """The text with its control characters spelled by number: raw, they change colours and alphabets."""
    return CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def wrapped(text: str) -> str:
    """The sentence between its words, below what follows its subject where it has one: `model    two layers`.

    A command, in backticks or from `: pylm …` to the end, is to be copied: it is never broken.
    """
    return "\n".join(_wrapped(line) for line in printable(text).split("\n"))


def _wrapped(text: str) -> str:
    subject = SUBJECT.match(text)
    lines = textwrap.fill(
        COMMAND.sub(lambda found: found[0].replace(" ", HELD), text),
        shutil.get_terminal_size().columns,
        subsequent_indent=" " * (subject.end() if subject else 0),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    return lines.replace(HELD, " ")
