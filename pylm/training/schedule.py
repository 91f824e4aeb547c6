"""The learning rate by step: a pure function, so that a resumed run needs nothing but its step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pylm.config.schema import Train
from pylm.wording import param

__all__ = ["Schedule"]

# The share of a run in which the rate falls. WSD: Hägele et al. 2024 find 20 % as good as a cosine over all of it.
# Trapezoid: the speed records fall over most of the run.
WSD_DECAY = 0.2
TRAPEZOID_DECAY = 0.65
WARMUP = 0.02


@dataclass(frozen=True)
class Schedule:
    """A warmup, a plateau or a curve, and a floor."""

    kind: str
    peak: float
    floor: float
    warmup: int
    steps: int

    @classmethod
    def of(cls, train: Train, steps: int) -> Schedule:
        """Return the schedule of a run of so many steps."""
        warmup = round(WARMUP * steps) if train.warmup_steps is None else train.warmup_steps
        return cls(train.schedule, train.learning_rate, train.learning_rate * train.min_lr_ratio, warmup, steps)

    def __call__(self, step: int) -> float:
        """Return the rate of a step, counted from 0; past the end, the last one's."""
        step = min(step, max(self.steps - 1, 0))
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.kind == "constant":
            return self.peak
        if self.kind == "cosine":
            done = (step - self.warmup) / max(self.steps - 1 - self.warmup, 1)
            return self.floor + (self.peak - self.floor) * 0.5 * (1 + math.cos(math.pi * done))
        share = WSD_DECAY if self.kind == "wsd" else TRAPEZOID_DECAY
        begin = max(self.steps - round(share * self.steps), self.warmup)
        if step < begin:
            return self.peak
        done = (step - begin + 1) / max(self.steps - begin, 1)
        # WSD falls as one minus a root, the trapezoid in a straight line
        left = 1 - math.sqrt(done) if self.kind == "wsd" else 1 - done
        return self.floor + (self.peak - self.floor) * left

    def __str__(self) -> str:
        """In words, for the start of a run."""
        steps = "step" if self.warmup == 1 else "steps"
        warmup = f" after {self.warmup:,} {steps} of warmup" if self.warmup else ""
        if self.kind == "constant":
            return f"learning rate {self.peak:g}, constant{warmup}"
        return f"learning rate {self.peak:g} falling to {self.floor:g} ({self.kind}){warmup}"

    def warning(self) -> str | None:
        """Say what is wrong with it, a warmup that outlasts the run; None where nothing is."""
        if self.warmup < self.steps or not self.warmup:
            return None
        reached = self(self.steps - 1)
        falls = "" if self.kind == "constant" else " and never falls"
        return (
            f"the warmup takes {self.warmup:,} steps and the run has {self.steps:,}: the learning rate rises to "
            f"{reached:.2g}{falls}; {param('warmup_steps', None)} warms up for {WARMUP:.0%} of the run"
        )
