"""The time that a competitor has, and how many steps fit: what its learning-rate schedule is laid over."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

RECENT = 20  # steps whose pace counts
UNKNOWN = 1_000_000  # steps, before there is a pace
COMPILING = 3  # steps that are no measure of the others


class Clock:
    """Starts where it is made; `step` after each step."""

    def __init__(self, seconds: float) -> None:
        """Give `seconds`, of which everything from now on takes its part."""
        self.seconds = seconds
        self.started = time.monotonic()
        self.steps = 0
        self._ends: deque[float] = deque(maxlen=RECENT + 1)

    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def step(self) -> None:
        """Count a step that was made."""
        self.steps += 1
        if self.steps >= COMPILING:
            self._ends.append(self.spent())

    def pace(self) -> float | None:
        """Seconds of a step, by the recent ones."""
        if len(self._ends) < 2:
            return None
        return (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)

    def over(self) -> bool:
        """Whether another step would not fit any more."""
        return self.spent() + (self.pace() or 0.0) > self.seconds

    def iterations(self) -> int:
        """All steps of the run, as far as the pace tells: renewed at every step, so that the rate lands with the time.

        A count that is fixed beforehand leaves the rate high where the machine slows, and time unused where it does
        not: no competitor is to lose by either.
        """
        pace = self.pace()
        if pace is None:
            return UNKNOWN
        return self.steps + max(1, int((self.seconds - self.spent()) / pace))


def waited() -> float:
    """Seconds that this process's main thread waited for a processor that something else had; 0 where nobody counts."""
    counted = Path("/proc/self/schedstat")
    return int(counted.read_text().split()[1]) / 1e9 if counted.exists() else 0.0
