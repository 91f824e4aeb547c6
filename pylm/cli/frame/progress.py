"""Progress of long work: a bar on a terminal, one plain line at intervals anywhere else, always on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TextIO

from pylm.cli.frame.printing import drawn_on
from pylm.config.units import format_bytes, format_count, format_duration
from pylm.wording import in_options

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

__all__ = ["Progress"]

# A log of an eight-hour run stays under 3,000 lines, and nobody wonders for longer than this whether it still lives.
PLAIN_INTERVAL = 10.0


class Progress:
    """A bar of how far long work has come; native code calls it about five times a second.

    ::

        with Progress("tokenize", unit="bytes") as progress:
            progress(done=10_000_000, total=600_000_000, note="3.1M tokens/s")
            progress(phase="merge", done=0, total=32_000, unit="merges")
    """

    def __init__(
        self,
        phase: str,
        unit: str = "",
        total: float | None = None,
        *,
        stream: TextIO | None = None,
        interval: float = PLAIN_INTERVAL,
        quiet: bool = False,
    ) -> None:
        """Start with a phase's name; the unit `bytes` is written as MB, any other as it is named."""
        self.phase, self.unit, self.total = phase, unit, total
        self.done = 0.0
        self.note = ""
        self.stream = stream or sys.stderr
        self.interval = interval
        self.quiet = quiet
        self.started = self.last_line = time.monotonic()
        self.base = 0.0
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        """Start the clock, and the bar where there is a terminal to draw it on."""
        self.started = self.last_line = time.monotonic()
        if not self.quiet and drawn_on(self.stream):
            from rich.console import Console
            from rich.progress import BarColumn, SpinnerColumn, TextColumn
            from rich.progress import Progress as Bar

            bar = Bar(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
                console=Console(file=self.stream),
                transient=True,
            )
            self._task = bar.add_task(self.phase, total=self.total, text="")
            bar.start()
            self._bar = bar
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Take the bar away; what was done is the command's to say."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        return False

    def __call__(
        self,
        done: float,
        total: float | None = None,
        *,
        phase: str | None = None,
        unit: str | None = None,
        note: str = "",
    ) -> None:
        """Say how much is done of how much; a new phase starts its own clock."""
        if phase is not None and phase != self.phase:
            self._line(time.monotonic())
            self.phase, self.total, self.base = phase, None, done
            self.started = time.monotonic()
            if self._bar is not None and self._task is not None:
                self._bar.reset(self._task, description=phase, total=None)
        self.unit = self.unit if unit is None else unit
        self.total = self.total if total is None else total
        self.done, self.note = done, note
        now = time.monotonic()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=self.total, text=self.text(now))
        elif now - self.last_line >= self.interval:
            self._line(now)

    def say(self, text: str) -> None:
        """Write a sentence that stays: above the bar where there is one, and never into it."""
        if self.quiet:
            return
        text = in_options(text)
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
            return
        self.stream.write(text + "\n")
        self.stream.flush()

    def text(self, now: float) -> str:
        """Write amount, speed and time left: `1.2 GB of 2.6 GB, 210 MB/s, 7 s left`."""
        seconds = now - self.started
        speed = (self.done - self.base) / seconds if seconds > 0 else 0.0
        parts = [self._amount(self.done)]
        if self.total:
            parts = [f"{100 * self.done / self.total:.0f}%", f"{parts[0]} of {self._amount(self.total)}"]
        if speed > 0:
            parts.append(f"{self._amount(speed)}/s")
            if self.total and self.total > self.done:
                parts.append(f"{format_duration((self.total - self.done) / speed)} left")
        if self.note:
            parts.append(self.note)
        return ", ".join(parts)

    def _amount(self, value: float) -> str:
        if self.unit == "bytes":
            return format_bytes(value)
        return f"{format_count(value)} {self.unit}".rstrip()

    def _line(self, now: float) -> None:
        """Write one plain line, where there is no bar."""
        if self._bar is None and not self.quiet and now - self.last_line >= self.interval:
            self.last_line = now
            self.stream.write(f"{self.phase}: {self.text(now)}\n")
            self.stream.flush()
