"""The clock of a run: it says how the steps that are left share what is left of the schedule, so that the run lands.

What has been done is never undone: progress goes on from where it is, evenly over the steps that the time left is good
for, at the speed of the last steps. A machine that slows, a long evaluation, or a first step that compiles for half a
minute makes the way to the end shorter, and no step skips a part of the schedule.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median_low
from types import MappingProxyType
from typing import TYPE_CHECKING

from pylm.training.decisions import Decisions, Segment
from pylm.training.due import EVALUATION_STEPS

if TYPE_CHECKING:
    from pylm.training.plan import Length

__all__ = ["Cadence", "Timekeeper"]

EARLY = (1, 2, 4, 8)  # steps after which it is looked at all the same: what was measured before them may be far off
LOOKS = 256  # at the clock, in the time of a run: a step of 0.4 % is below what a landing may miss by, 2 %
# What a probe remembers of a busy hour may be 16 times what a step takes: laid out by that, 20 s were one step, at the
# end of the schedule. Before any step is taken there are as many as this at the least; the first look mends it.
UNSEEN = 32
WINDOWS = 3  # between looks, whose median is the speed: one that a compiler or a pause was in says nothing of the next
EVALUATION_SHARE = 0.05  # of the time, at most, where nobody says how often to evaluate
FEWEST_EVALUATIONS = 10  # of a run whose steps are too slow for that many steps between them, as far as it allows


@dataclass(frozen=True)
class Cadence:
    """How often what takes time beside the steps is done, in steps; None: at the end only, or never."""

    evaluations: int | None  # the clock decides where `by_clock`
    by_clock: bool
    saves: int | None
    samples: int | None  # None: with the evaluations, or never
    suites: int | None = None  # None: at the end, if at all, but where they come with what the clock decides
    suites_by_clock: bool = False


class Timekeeper:
    """Decides on the way, and measures what it decides by; a run without a time has one that does nothing."""

    def __init__(
        self,
        length: Length,
        decisions: Decisions,
        cadence: Cadence,
        seconds: float,
        *,
        step_seconds: float | None = None,
        expected: Mapping[str, float] = MappingProxyType({}),
        writing: float = 0.0,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begin, or go on.

        Args:
            length: of the run.
            decisions: so far; added to.
            cadence: of evaluations, samples and saves.
            seconds: that lie behind.
            step_seconds: of a step, as it was measured; by the length where nobody did.
            expected: what an `evaluation`, `samples` and a `suite` take, in steps, until the first of each is measured.
            writing: seconds that writing the last checkpoint takes, likewise.
            now: the clock.
        """
        self._length, self._decisions, self._cadence, self._now = length, decisions, cadence, now
        self._expected, self._measured = expected, {"writing": writing}
        self._paces = deque([step_seconds] if step_seconds else [], maxlen=WINDOWS)
        self._spent = 0.0  # beside the steps, in this process
        self._evaluating = 0.0  # of that, evaluating and what comes with it
        self._window: tuple[int, float, float] | None = None  # step, seconds, and those spent beside, at the last look
        self._began = seconds
        self._first = 0

    @contextmanager
    def spends(self, what: str) -> Iterator[None]:
        """Measure what a block takes beside the steps."""
        started = self._now()
        try:
            yield
        finally:
            seconds = self._now() - started
            self._measured[what] = seconds
            self._spent += seconds
            comes_with_it = what != "save" and (what != "suite" or self._cadence.suites_by_clock)
            self._evaluating += seconds if comes_with_it else 0.0

    def wrote(self, seconds: float | None) -> None:
        """Hear how long writing a checkpoint took: at the end, nothing else is done meanwhile."""
        if seconds is not None:
            self._measured["writing"] = seconds

    def consult(self, step: int, seconds: float) -> None:
        """Decide what is to be decided before a step, so many seconds into the run."""
        if self._length.seconds is None:
            return
        decisions = self._decisions
        if step < decisions.replayed_until:
            if step in decisions.replayed_looks:
                decisions.look, decisions.looked = step, seconds
            return
        if self._window is None:
            self._first, self._window = step, (step, seconds, self._spent)
            if not decisions.segments or seconds >= self._length.seconds > 0 and not decisions.ended(step):
                self._lay_out(step, seconds)
        elif not decisions.ended(step) and self._looks(step, seconds):
            self._lay_out(step, seconds)
        if self._evaluation_is_due(step, seconds):
            decisions.look, decisions.looked = step, seconds

    def _looks(self, step: int, seconds: float) -> bool:
        """Say whether it is time to look again; the speed of the steps since the last look is known then."""
        assert self._window is not None and self._length.seconds is not None
        before, then, spent = self._window
        early = step - self._first in EARLY
        if step == before or (seconds - then < self._length.seconds / LOOKS and not early):
            return False
        self._paces.append(max(seconds - then - (self._spent - spent), 1e-9) / (step - before))
        self._window = step, seconds, self._spent
        return True

    def _lay_out(self, step: int, seconds: float) -> None:
        """Share what is left of the run among the steps that there is time for."""
        assert self._length.seconds is not None
        left = self._length.seconds - seconds - self._at_the_end(step)
        end = step + self._steps(step, left, self._pace(step) + self._beside_a_step(step))
        segments = self._decisions.segments
        if not segments:
            end = max(end, step + UNSEEN)
        if self._length.limit is not None:
            end = max(min(end, self._length.limit), step + 1)
        if not segments:
            self._decisions.add(Segment(step, step / end, end))
        elif segments[-1].end != end:
            self._decisions.add(Segment(step, self._decisions.progress(step - 1), end))

    def _steps(self, step: int, left: float, each: float) -> int:
        """Return how many steps there is time for, suites among them counted one by one: one may take a minute."""
        every, cost = self._cadence.suites, self._cost("suite", step)
        if not every or not cost:
            return max(round(left / each), 1)
        least, suite = 1, every - step % every  # of what is said; steps to the next one, which the end has anyhow
        while (left / each) > suite:
            least, suite, left = suite, suite + every, left - cost
        return max(round(left / each), least)

    def _pace(self, step: int) -> float:
        """Return the seconds of a step by itself."""
        if self._paces:
            return median_low(self._paces)
        assert self._length.seconds is not None
        return max(self._length.seconds - self._began, 1e-9) / max(self._length.steps - step, 1)

    def _beside_a_step(self, step: int) -> float:
        """Return the share of a step in what is done every so many steps."""
        every, save = self._cadence, self._cost("save", step)
        evaluating = self._an_evaluation(step) + save  # of a new best
        if every.by_clock:
            shares = [min(evaluating / self._gap(step), EVALUATION_SHARE * self._pace(step))]
        else:
            shares = [evaluating / every.evaluations] if every.evaluations else []
        shares += [save / every.saves] if every.saves else []
        shares += [self._cost("samples", step) / every.samples] if every.samples else []
        return sum(shares)

    def _gap(self, step: int) -> float:
        """Return the steps between evaluations by the clock, for what they take apart."""
        assert self._length.seconds is not None
        return min(EVALUATION_STEPS, max(self._length.seconds / FEWEST_EVALUATIONS / self._pace(step), 1.0))

    def _cost(self, what: str, step: int) -> float:
        """Return the seconds that something takes: those of the last time, else by the steps that it is expected to."""
        measured = self._measured.get(what)
        return self._expected.get(what, 0.0) * self._pace(step) if measured is None else measured

    def _an_evaluation(self, step: int) -> float:
        """Return what an evaluation takes, with the samples and the suite that go with it."""
        samples = 0.0 if self._cadence.samples else self._cost("samples", step)
        suite = self._cost("suite", step) if self._cadence.suites_by_clock else 0.0
        return self._cost("evaluation", step) + samples + suite

    def _at_the_end(self, step: int) -> float:
        suite = 0.0 if self._cadence.suites_by_clock else self._cost("suite", step)
        return self._an_evaluation(step) + suite + self._cost("save", step) + self._cost("writing", step)

    def _evaluation_is_due(self, step: int, seconds: float) -> bool:
        """Say whether the clock has an evaluation made now: often enough, for no more than its share of the time."""
        decisions, most = self._decisions, self._length.seconds
        if not self._cadence.by_clock or most is None or step <= decisions.look or decisions.ended(step):
            return False
        since, each = step - decisions.look, self._an_evaluation(step)
        if since < EVALUATION_STEPS and seconds - decisions.looked < most / FEWEST_EVALUATIONS:
            return False
        if decisions.segments[-1].end - step < since / 2:
            return False  # the last one is near
        # the last one is counted in as soon as it is known what one takes
        return self._evaluating + each <= EVALUATION_SHARE * seconds and (
            self._evaluating + 2 * each <= EVALUATION_SHARE * most
        )
