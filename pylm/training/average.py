"""The average of a run's weights: of which steps, and how much each one counts. Functions of the step alone.

After the steps that are averaged the average moves towards the weights by a share of the way. With the share 1 / n at
the n-th of them it is the mean of all. With (1 - d) / (1 - dⁿ) it is their mean weighted by d to the power of their
age, whose weights sum to one from the first on: nothing of it is a zero that it began with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pylm.config.schema import Train

__all__ = ["Averaging"]

EVERY = 10  # steps: moving the average costs a pass over memory
DECAY = 0.999  # a step's


@dataclass(frozen=True)
class Averaging:
    """Which steps of a run are averaged, and with what weight."""

    kind: str
    decay: float  # from one of them to the next
    every: int
    first: int

    @classmethod
    def of(cls, train: Train) -> Averaging | None:
        """Return that of a run; None where it averages nothing."""
        if train.average == "off":
            return None
        every = train.average_every or EVERY
        return cls(train.average, (train.average_decay or DECAY) ** every, every, train.average_from or 1)

    def count(self, step: int) -> int:
        """Return how many steps are averaged by a step, counted from 1."""
        return max(step // self.every - (self.first - 1) // self.every, 0)

    def share(self, step: int) -> float | None:
        """Return how far the average moves towards the weights after a step; None where it stays."""
        count = self.count(step)
        if step % self.every or not count:
            return None
        return 1 / count if self.kind == "mean" else (1 - self.decay) / (1 - self.decay**count)

    def stored(self, step: int) -> dict[str, Any]:
        """Return what a checkpoint says of it."""
        return {"kind": self.kind, "steps": self.count(step)}
