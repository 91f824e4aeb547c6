"""Where a run stands: what is saved with every checkpoint, beside tensors and generators."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Progress"]


@dataclass
class Progress:
    """The counts of a run, by the names that a checkpoint's state has."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    evaluated: int = 0  # the last step that was
    sampled: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    since_best: int = 0  # evaluations
    bad_steps: int = 0  # in a row
    mean: float = 0.0  # of the loss, running
    deviation: float = 0.0
    finished: str | None = None  # why, where it is
