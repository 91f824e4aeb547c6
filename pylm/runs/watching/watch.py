"""Watching runs: a screen that is drawn anew where one can be drawn on, lines anywhere else."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from pylm.runs.finding import find_runs
from pylm.runs.watching.screen import Settings, screen
from pylm.runs.watching.watched import SHARE, Watched

__all__ = ["watch"]

INTERVAL = 1.0  # between two looks
KEY = re.compile(r"\x1b[\[O][\d;]*[A-Za-z~]|.", re.DOTALL)  # an arrow or the like, or a character
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # a screen of its own without a cursor, and back


def watch(runs: Sequence[str | Path] = (), *, stream: TextIO | None = None, interval: float = INTERVAL) -> None:
    """Show runs while they go on: until a key says to leave, or, where there is no terminal, until none goes on.

    Args:
        runs: Folders or names; the newest run if none is named.
        stream: Where it is shown; stdout if not given.
        interval: Seconds between two looks at their folders.
    """
    out = stream or sys.stdout
    watched = [Watched(run) for run in find_runs(runs)]
    if out.isatty() and sys.stdin.isatty() and os.environ.get("TERM") != "dumb":
        with _keys() as pressed:
            _show(watched, out, pressed, interval)
    else:
        _tell(watched, out, interval)


def _show(runs: Sequence[Watched], out: TextIO, pressed: Callable[[float], str], interval: float) -> None:
    """Draw the screen anew where anything changed: a key and the window's size at once, lines within their share."""
    settings, drawn, due = Settings(), None, 0.0
    plain = not (out.encoding or "").lower().startswith("utf")
    out.write(ENTER)
    try:
        while True:
            for run in runs:
                run.look()
            size = shutil.get_terminal_size()
            asked = (size, [run.goes_on for run in runs], vars(settings).copy())
            state = (asked, [run.version for run in runs])
            if drawn is None or asked != drawn[0] or (state != drawn and time.monotonic() >= due):
                begun = time.process_time()
                lines = screen(runs, settings, *size, plain=plain, colour="NO_COLOR" not in os.environ)
                out.write("\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J")
                out.flush()
                drawn, due = state, time.monotonic() + (time.process_time() - begun) / SHARE
            if not all(settings.press(key, len(runs)) for key in KEY.findall(pressed(interval))):
                return
    finally:
        out.write(LEAVE)
        out.flush()


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Read keys as they are pressed; Ctrl-C is one of them, and the terminal is afterwards as it was."""
    import termios
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    tty.setraw(handle, termios.TCSANOW)

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([handle], [], [], seconds)
        return os.read(handle, 64).decode("utf-8", "ignore") or "q" if ready else ""

    try:
        yield pressed
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def _tell(runs: Sequence[Watched], out: TextIO, interval: float) -> None:
    """Write a line of each run that has something new, until none goes on."""
    several, told = len(runs) > 1, [-1] * len(runs)
    while True:
        for number, run in enumerate(runs):
            if run.version != told[number]:
                name = f"{run.run.name}  " if several else ""
                out.write(f"{name}{'  '.join(run.figures())}\n")
                told[number] = run.version
        out.flush()
        if not any(run.goes_on for run in runs):
            return
        time.sleep(interval)
        for run in runs:
            run.look()
