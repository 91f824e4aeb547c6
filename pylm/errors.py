"""Every error that pylm raises on purpose: one sentence, and a hint that says what to do next."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable

from pylm.wording import in_python

__all__ = [
    "CheckError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Interrupted",
    "KernelError",
    "PylmError",
    "PylmWarning",
    "TokenizerError",
    "UsageError",
    "did_you_mean",
    "nearest",
    "warn",
]

HERE = os.path.dirname(__file__) + os.sep


class PylmError(Exception):
    """An error that says what went wrong and where.

    The command line prints it after `error:`, and its `hint` after `hint:`.

    The sentences of a room name parameters (see pylm.wording). `message` and `hint` say them as a Python program
    writes them; `marked` are the two as they were given, for whoever raises them anew or prints them otherwise.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        """Keep `message` and `hint` apart, so that each is printed in its place."""
        self.marked = message, hint
        self.message = in_python(message)
        self.hint = None if hint is None else in_python(hint)
        super().__init__(self.message)
        if hint and (add_note := getattr(self, "add_note", None)):  # from Python 3.11 on; tracebacks print it
            add_note(f"hint: {self.hint}")

    def __str__(self) -> str:
        """Return the sentence, and the hint where nothing else would print it."""
        return self.message if self.hint is None or hasattr(self, "add_note") else f"{self.message}\nhint: {self.hint}"

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback: the sentence and its hint, as the command line does."""
        lines = [f"{type(self).__name__}: {self.message}"]
        return lines if self.hint is None else [*lines, f"hint: {self.hint}"]

    def __reduce__(self) -> tuple[type[PylmError], tuple[str, str | None]]:
        """Cross a process border whole: Exception's own way drops the hint."""
        return type(self), self.marked


class UsageError(PylmError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class ConfigError(UsageError):
    """A key, a value or a combination of the configuration is wrong."""


class DataError(PylmError):
    """A file or its contents are not what they should be."""


class TokenizerError(PylmError):
    """A tokenizer, its files or its training failed."""


class CheckpointError(PylmError):
    """A checkpoint is missing, damaged or foreign."""


class KernelError(PylmError):
    """A native kernel is missing or cannot serve what it was asked for."""


class CheckError(PylmError):
    """A check that was asked for said no."""

    exit_code = 3


class Interrupted(PylmError):
    """Stopped by a signal with its state saved: `hint` is the line that goes on from there."""

    exit_code = 75


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return the hint for a mistyped word: the nearest known one or two, None where none is near."""
    spelled = {name.lower().replace("_", "-"): name for name in known}
    near = nearest(word, spelled)
    return f"did you mean {' or '.join(spelled[name] for name in near)}?" if near else None


def nearest(word: str, spelled: Iterable[str]) -> list[str]:
    """Return the one or two of some names, in small letters and with dashes, that a word is nearest to."""
    from difflib import get_close_matches

    typed = word.lower().replace("_", "-")
    near = get_close_matches(typed, spelled, n=2, cutoff=0.6)
    if near and near[0].startswith(typed):  # which lacks its end, and nothing else
        return near[:1]
    # `optimiser` is no `optimizer_state`: what goes on from the nearest is further from what was typed
    return [name for name in near if name == near[0] or not name.startswith(near[0])]


class PylmWarning(UserWarning):
    """What a caller should know of a result that is given all the same."""

    def __init__(self, text: str) -> None:
        """Say it as a Python program does; `marked` is how the room said it."""
        super().__init__(in_python(text))
        self.marked = text


def warn(text: str) -> None:
    """Give a PylmWarning that names the caller's line, however deep in pylm it is given."""
    level, frame = 2, sys._getframe(1)
    while frame.f_code.co_filename.startswith(HERE) and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    warnings.warn(PylmWarning(text), stacklevel=level)
