"""A program that starts soon: what is imported is no garbage, so nobody needs to look through it again and again."""

from __future__ import annotations

import codecs
import gc
import sys

__all__ = ["begin", "let_all_be_printed", "settle"]

USUAL = gc.get_threshold()
# Importing torch makes half a million objects, and looking through them took a third of its time
RARELY = 200_000


def begin() -> None:
    """Make Python look for garbage rarely."""
    gc.set_threshold(RARELY, *USUAL[1:])


# what our own sentences hold beside ASCII
SPELLED = {"→": "->", "…": "...", "·": ".", "×": "x", "–": "-", "²": "2", "█": "#", "━": "-"}


def let_all_be_printed() -> None:
    """Let stdout take what its encoding, latin-1 say, does not have: spelled in ASCII, or escaped by number."""
    stream = sys.stdout
    if stream is None or stream.errors != "strict" or stream.encoding.lower().replace("-", "") == "utf8":
        return
    codecs.register_error("pylm", _spelled)
    stream.reconfigure(errors="pylm")  # type: ignore[union-attr]


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    escaped = "".join(SPELLED.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in text)
    return escaped, error.end


def settle() -> None:
    """Let Python look for garbage as usual, but never again in what exists by now.

    Work that takes long calls this before it begins.
    """
    gc.freeze()
    gc.set_threshold(*USUAL)
