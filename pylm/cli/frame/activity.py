"""What is being done while there is nothing to count: a live line with its time, so that nothing looks hung.

On a terminal the line is there at once and is drawn anew ten times a second; anywhere else one plain line says what
takes longer than a second. Both on stderr.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from types import TracebackType
from typing import Literal, TextIO

from pylm.cli.frame.printing import drawn_on
from pylm.config.units import format_duration
from pylm.wording import in_options

__all__ = ["Activity"]

PATIENCE = 1.0  # seconds before a plain line says what takes long
REDRAWN = 0.1
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
CLEARED = "\r\x1b[K"


class Activity:
    """A live line that says what is being done, until it is told to rest. Sentences that stay go through `say`.

    ::

        with Activity() as activity:
            activity.doing("measuring this machine: 2 of 3 batch sizes (once for this shape)")
            activity.say("a sentence that stays")
    """

    def __init__(self, *, stream: TextIO | None = None, quiet: bool = False, patience: float = PATIENCE) -> None:
        """Start with nothing being done."""
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self.drawn = not quiet and drawn_on(self.stream)
        self.patience = patience
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._watching: threading.Thread | None = None
        self._text = ""
        self._since = 0.0
        self._said = False
        self._on_screen = False

    def doing(self, text: str) -> None:
        """Say what is being done; the clock goes on where only what follows a colon is another."""
        if self.quiet:
            return
        text = in_options(text)
        with self._lock:
            if text.partition(":")[0] != self._text.partition(":")[0]:
                self._since, self._said = time.monotonic(), False
            self._text = text
            self._draw()
            if self._watching is None and not self._over.is_set():
                self._watching = threading.Thread(target=self._watch, name="pylm-activity", daemon=True)
                self._watching.start()

    def say(self, text: str) -> None:
        """Write a sentence that stays, above the live line."""
        from pylm.runs.terminal import wrapped

        if self.quiet:
            return
        text = in_options(text)
        with self._lock:
            self._clear()
            self.stream.write((wrapped(text) if self.drawn else text) + "\n")
            self.stream.flush()
            self._draw()

    def rest(self) -> None:
        """Take the line away: something else draws now, or nothing is done."""
        with self._lock:
            self._clear()
            self._text = ""

    def __enter__(self) -> Activity:
        """Return it, for `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Take the line away for good."""
        self.rest()
        self._over.set()
        return False

    def _watch(self) -> None:
        while not self._over.wait(REDRAWN):
            with self._lock:
                if not self._text:  # at rest nothing wakes ten times a second beside what is done
                    self._watching = None
                    return
            try:
                self._again()
            except (OSError, ValueError):  # whoever read it has gone: the work goes on unseen
                return

    def _again(self) -> None:
        with self._lock:
            if self.drawn:
                self._draw()
            elif self._text and not self._said and time.monotonic() - self._since >= self.patience:
                self._said = True
                self.stream.write(self._text + "\n")
                self.stream.flush()

    def _draw(self) -> None:
        if not self.drawn or not self._text:
            return
        columns = shutil.get_terminal_size().columns - 1
        self.stream.write(f"\r{self._line(time.monotonic())[:columns]}\x1b[K")
        self.stream.flush()
        self._on_screen = True

    def _line(self, now: float) -> str:
        """Return the text with its time, which stands before what is in brackets: narrow terminals cut that off."""
        seconds = now - self._since
        head, bracket, aside = self._text.partition(" (")
        spent = f", {format_duration(round(seconds))}" if seconds >= self.patience else ""
        spent = spent.replace(".0 s", " s")
        return f"{SPINNER[int(now / REDRAWN) % len(SPINNER)]} {head}{spent}{bracket}{aside}"

    def _clear(self) -> None:
        if self._on_screen:
            self.stream.write(CLEARED)
            self.stream.flush()
            self._on_screen = False
