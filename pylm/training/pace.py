"""How fast a run goes: its clock over all resumes, and the speed of its steps alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pylm.training.progress import Progress

__all__ = ["Clock", "Pace", "Speed"]

SHORTEST = 0.1  # seconds that a speed which is shown is measured over, at the least: single steps jitter


class Clock:
    """The time that a run has taken, over all its resumes."""

    def __init__(self, before: float) -> None:
        """Start, so many seconds lying behind."""
        self._before = before
        self._started = time.perf_counter()

    def total(self) -> float:
        """Return the seconds."""
        return self._before + time.perf_counter() - self._started


class Speed:
    """Tokens a second since the last look."""

    def __init__(self, progress: Progress, shortest: float = 0.0) -> None:
        """Start at this step; a look that comes sooner than `shortest` finds the speed of the one before."""
        self._progress = progress
        self._shortest = shortest
        self._tokens, self._step = progress.tokens, progress.step
        self._started = time.perf_counter()
        self.tokens_per_second = 0.0
        self.seconds_per_step = 0.0

    def leave_out(self, seconds: float) -> None:
        """Count them as no time of training."""
        self._started += seconds

    def look(self) -> float:
        """Return the speed of the steps since the last look."""
        progress, now = self._progress, time.perf_counter()
        steps, seconds = progress.step - self._step, now - self._started
        if steps and (seconds >= self._shortest or not self.tokens_per_second):
            self.seconds_per_step = seconds / steps
            self.tokens_per_second = (progress.tokens - self._tokens) / seconds
            self._tokens, self._step, self._started = progress.tokens, progress.step, now
        return self.tokens_per_second


class Pace:
    """Two speeds of one run, that of metrics.jsonl and that of whoever watches: neither look disturbs the other's."""

    def __init__(self, progress: Progress) -> None:
        """Start at this step."""
        self.logged, self.shown = Speed(progress), Speed(progress, SHORTEST)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Leave the time of a block, an evaluation's say, out of both."""
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self.logged.leave_out(seconds)
            self.shown.leave_out(seconds)
