"""The learning rate by step, or by the share of a run that is done: pure functions, so that a resume needs no more."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pylm.config.schema import Train
from pylm.wording import param

__all__ = ["Schedule"]

# The share of a run in which the rate falls. WSD: Hägele et al. 2024 find 20 % as good as a cosine over all of it.
# Trapezoid: the speed records fall over most of the run.
WSD_DECAY = 0.2
TRAPEZOID_DECAY = 0.65
WARMUP = 0.02
OF_ALL = ("cosine", "linear")  # they fall from the end of the warmup on


@dataclass(frozen=True)
class Schedule:
    """A warmup, a plateau or a curve, and a floor."""

    kind: str
    peak: float
    floor: float
    warmup: int
    steps: int
    warmup_share: float | None = None  # of a run under a clock, where nobody gave steps

    @classmethod
    def of(cls, train: Train, steps: int, *, by_clock: bool = False) -> Schedule:
        """Return the schedule of a run of so many steps; `by_clock`: about as many, and it follows the time."""
        warmup = round(WARMUP * steps) if train.warmup_steps is None else train.warmup_steps
        share = WARMUP if by_clock and train.warmup_steps is None else None
        return cls(train.schedule, train.peak, train.peak * train.min_lr_ratio, warmup, steps, share)

    def __call__(self, step: int) -> float:
        """Return the rate of a step, counted from 0; past the end, the last one's."""
        step = min(step, max(self.steps - 1, 0))
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.kind == "constant":
            return self.peak
        if self.kind in OF_ALL:
            return self._fallen((step - self.warmup) / max(self.steps - 1 - self.warmup, 1))
        begin = max(self.steps - round(self._decay * self.steps), self.warmup)
        return self.peak if step < begin else self._fallen((step - begin + 1) / max(self.steps - begin, 1))

    def by_progress(self, step: int, progress: Callable[[int], float]) -> float:
        """Return the rate of a step of a run under a clock: where steps are even, the rate that they have by number.

        Args:
            step: counted from 0.
            progress: the share of the run that is done with a step; known of this step and those before it.
        """
        done = progress(step)
        if self.warmup_share is not None:
            warm = self.warmup_share
            if done < warm:
                return self.peak * done / warm
        elif step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        else:
            warm = progress(self.warmup)
        if self.kind == "constant":
            return self.peak
        begin = warm if self.kind in OF_ALL else max(1 - self._decay, warm)
        return self.peak if done < begin or begin == 1 else self._fallen((done - begin) / (1 - begin))

    @property
    def _decay(self) -> float:
        """The share of the run in which the rate falls."""
        return WSD_DECAY if self.kind == "wsd" else TRAPEZOID_DECAY

    def _fallen(self, done: float) -> float:
        """Return the rate where so much of its way down is done."""
        if self.kind == "cosine":
            return self.floor + (self.peak - self.floor) * 0.5 * (1 + math.cos(math.pi * done))
        # WSD falls as one minus a root, the others in a straight line
        left = 1 - math.sqrt(done) if self.kind == "wsd" else 1 - done
        return self.floor + (self.peak - self.floor) * left

    def __str__(self) -> str:
        """In words, for the start of a run."""
        steps = "step" if self.warmup == 1 else "steps"
        warmup = f" after {self.warmup:,} {steps} of warmup" if self.warmup else ""
        if self.warmup_share is not None:
            warmup = f" after {self.warmup_share:.0%} of the time of warmup"
        if self.kind == "constant":
            return f"learning rate {self.peak:g}, constant{warmup}"
        return f"learning rate {self.peak:g} falling to {self.floor:g} ({self.kind}){warmup}"

    def warning(self) -> str | None:
        """Say what is wrong with it, a warmup that outlasts the run; None where nothing is."""
        if self.warmup < self.steps or not self.warmup or self.warmup_share is not None:
            return None
        reached = self(self.steps - 1)
        falls = "" if self.kind == "constant" else " and never falls"
        return (
            f"the warmup takes {self.warmup:,} steps and the run has {self.steps:,}: the learning rate rises to "
            f"{reached:.2g}{falls}; {param('warmup_steps', None)} warms up for {WARMUP:.0%} of the run"
        )
