"""What a run shows of itself: a line that is drawn anew on a terminal, a plain line at intervals anywhere else."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from pylm.config.units import format_bytes, format_count, format_duration
from pylm.runs.terminal import wrapped

__all__ = ["View"]

PLAIN_INTERVAL = 10.0
DRAWN_INTERVAL = 0.1
BARS = "▁▂▃▄▅▆▇█"
CURVE = 24  # columns of the curve of losses, at most
LEAST_CURVE = 8  # columns that it is given before what matters less
GAP = "  "


class View:
    """Shows the step, the loss, the speed and the time left; evaluations and remarks stay as lines of their own."""

    def __init__(
        self, steps: int, *, stream: TextIO | None = None, quiet: bool = False, interval: float = PLAIN_INTERVAL
    ) -> None:
        """Say of how many steps the run is."""
        self.steps = steps
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self.drawn = self.stream.isatty() and os.environ.get("TERM") != "dumb" and not quiet
        self.interval = DRAWN_INTERVAL if self.drawn else interval
        self._last = -interval
        self._losses: list[float] = []
        self._step = 0
        self._line = ""

    def wants(self) -> bool:
        """Whether a step would be shown now: making its figures costs a little."""
        return not self.quiet and time.monotonic() - self._last >= self.interval

    def begin(self, step: int, compiling: bool = False) -> None:
        """Show that the run has begun: its first step may take long."""
        self._step = step
        self.doing("compiling, about 30 s" if compiling else "the first step")

    def doing(self, text: str) -> None:
        """Show what is done between steps, which may take longer than any of them."""
        if self.drawn:
            self._draw(f"step {self._step:,}/{self.steps:,}  {text} …")

    def step(self, record: Mapping[str, Any], seconds_left: float) -> None:
        """Show a step."""
        self._last = time.monotonic()
        self._step = record["step"]
        left = max(seconds_left, 0.0)
        if not self.drawn:
            parts = [_step(record, self.steps), _loss(record), _speed(record), *_peak(record), *_memory(record)]
            self.stream.write("  ".join([*parts, _rate(record), f"{format_duration(left)} left"]) + "\n")
            self.stream.flush()
            return
        self._losses.append(float(record["loss"]))
        if len(self._losses) > 8 * CURVE:
            self._losses = self._losses[::2]
        self._draw(fitted(record, self.steps, left, self._losses, _width()))

    def remark(self, text: str) -> None:
        """A sentence that stays."""
        if self.quiet:
            return
        line, self._line = self._line, ""
        if line:
            self.stream.write("\r\x1b[K")
        self.stream.write((wrapped(text) if self.drawn else text) + "\n")
        self.stream.flush()
        if line:
            self._draw(line)

    def close(self) -> None:
        """Take the drawn line away."""
        if self._line:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self._line = ""

    def _draw(self, text: str) -> None:
        self._line = text[: _width()]
        self.stream.write(f"\r\x1b[K{self._line}")
        self.stream.flush()


def fitted(record: Mapping[str, Any], steps: int, left: float, losses: list[float], width: int) -> str:
    """The line of a step in so many columns, by what matters most.

    Step, loss and time left come first, shortened where they must be; then the speed; then the curve, the share of the
    peak, memory and the learning rate; the curve takes what is left over.
    """
    count, rough = f"{record['step']:,}", _rough(left)
    first = [
        [_step(record, steps), _loss(record), f"{format_duration(left)} left"],
        [_step(record, steps), f"loss {record['loss']:.2f}", f"{rough} left"],
        [f"{count}/{steps:,}", f"{record['loss']:.2f}", f"{rough} left"],
        [count, f"{record['loss']:.2f}", rough],
        [count, f"{record['loss']:.2f}"],
        [count],
    ]
    begin = next((parts for parts in first if _columns(parts) <= width), first[-1])
    if begin is not first[0]:
        return GAP.join(begin)[:width]
    shown = begin[:2]
    if _columns([*begin, _speed(record)]) <= width:
        shown.append(_speed(record))
    drawn = min(LEAST_CURVE, len(losses))  # columns of the curve
    if drawn and drawn + len(GAP) + _columns([*shown, begin[2]]) > width:
        drawn = 0
    taken = drawn + len(GAP) if drawn else 0
    for part in (*_peak(record), *_memory(record), _rate(record)):
        if taken + _columns([*shown, part, begin[2]]) > width:
            break
        shown.append(part)
    shown.append(begin[2])
    if drawn:
        line = curve(losses, min(CURVE, width - _columns(shown) - len(GAP)))
        shown.insert(0, line)
    return GAP.join(part for part in shown if part)


def _width() -> int:
    return max(shutil.get_terminal_size().columns - 1, 1)


def _columns(parts: list[str]) -> int:
    return len(GAP.join(parts))


def _step(record: Mapping[str, Any], steps: int) -> str:
    return f"step {record['step']:,}/{steps:,}"


def _loss(record: Mapping[str, Any]) -> str:
    return f"loss {record['loss']:.4f}"


def _speed(record: Mapping[str, Any]) -> str:
    return f"{format_count(record['tokens_per_second'])} tokens/s"


def _peak(record: Mapping[str, Any]) -> list[str]:
    return [f"{100 * record['mfu']:.0f}% of matmul peak"] if record.get("mfu") else []


def _memory(record: Mapping[str, Any]) -> list[str]:
    return [format_bytes(record["memory"])] if record.get("memory") else []


def _rate(record: Mapping[str, Any]) -> str:
    return f"lr {record['lr']:.2e}"


def _rough(seconds: float) -> str:
    """A time in its largest unit alone."""
    return " ".join(format_duration(seconds).split()[:2])


def curve(values: list[float], columns: int = CURVE) -> str:
    """The values as a line of bars, each column the mean of its share."""
    finite = [value for value in values if value == value and abs(value) != float("inf")]
    if not finite:
        return ""
    columns = min(columns, len(finite))
    means = []
    for column in range(columns):
        part = finite[column * len(finite) // columns : (column + 1) * len(finite) // columns]
        means.append(sum(part) / len(part))
    low, high = min(means), max(means)
    return "".join(BARS[round((value - low) / (high - low or 1.0) * (len(BARS) - 1))] for value in means)
