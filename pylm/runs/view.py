"""What a run shows of itself: a line that is drawn anew on a terminal, a plain line at intervals anywhere else."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from pylm.config.units import format_bytes, format_count, format_duration

__all__ = ["View"]

PLAIN_INTERVAL = 10.0
DRAWN_INTERVAL = 0.1
BARS = "▁▂▃▄▅▆▇█"
CURVE = 24  # columns of the curve of losses


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
        self._line = ""

    def wants(self) -> bool:
        """Whether a step would be shown now: making its figures costs a little."""
        return not self.quiet and time.monotonic() - self._last >= self.interval

    def step(self, record: Mapping[str, Any], seconds_left: float) -> None:
        """Show a step."""
        self._last = time.monotonic()
        text = (
            f"step {record['step']:,}/{self.steps:,}  loss {record['loss']:.4f}  lr {record['lr']:.2e}  "
            f"{format_count(record['tokens_per_second'])} tokens/s"
        )
        if record.get("mfu"):
            text += f"  {100 * record['mfu']:.0f}% of peak"
        if record.get("memory"):
            text += f"  {format_bytes(record['memory'])}"
        text += f"  {format_duration(max(seconds_left, 0.0))} left"
        if not self.drawn:
            self.stream.write(text + "\n")
            self.stream.flush()
            return
        self._losses.append(float(record["loss"]))
        if len(self._losses) > 8 * CURVE:
            self._losses = self._losses[::2]
        self._draw(f"{curve(self._losses)} {text}")

    def remark(self, text: str) -> None:
        """A sentence that stays."""
        if self.quiet:
            return
        line, self._line = self._line, ""
        if line:
            self.stream.write("\r\x1b[K")
        self.stream.write(text + "\n")
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
        self._line = text[: shutil.get_terminal_size().columns - 1]
        self.stream.write(f"\r\x1b[K{self._line}")
        self.stream.flush()


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
