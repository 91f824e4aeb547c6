"""The clock of a run over all its resumes, and the speed of its steps alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pylm.training.progress import Progress

__all__ = ["Clock", "Pace"]

WINDOW = 10.0  # seconds that a speed is measured over


class Clock:
    """The time that a run has taken, over all its resumes."""

    def __init__(self, before: float, now: Callable[[], float] = time.perf_counter) -> None:
        """Start, so many seconds lying behind."""
        self._before, self._now = before, now
        self._started = now()

    def total(self) -> float:
        """Return the seconds."""
        return self._before + self._now() - self._started


class Pace:
    """How fast a run goes: over its last ten seconds of training, what it does beside its steps left out.

    A single step says little: it may wait for the disk, or for memory that an evaluation has just given back.
    """

    def __init__(self, progress: Progress) -> None:
        """Start at this step."""
        self._progress = progress
        self._apart = 0.0
        self._marks = deque([self._mark()])
        self.tokens_per_second = 0.0
        self.seconds_per_step = 0.0

    def count(self) -> None:
        """Count the step that was just taken."""
        marks, now = self._marks, self._mark()
        marks.append(now)
        # the first mark lies at the window's beginning, or before it: a step longer than the window is seen whole
        while now.seconds - marks[1].seconds >= WINDOW:
            marks.popleft()
        seconds = now.seconds - marks[0].seconds
        self.seconds_per_step = seconds / (now.step - marks[0].step)
        self.tokens_per_second = (now.tokens - marks[0].tokens) / seconds

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Leave the time of a block, an evaluation's say, out."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._apart += time.perf_counter() - started

    def _mark(self) -> _Mark:
        return _Mark(time.perf_counter() - self._apart, self._progress.step, self._progress.tokens)


class _Mark(NamedTuple):
    """Where a run stood, and the seconds of training at that moment."""

    seconds: float
    step: int
    tokens: int
