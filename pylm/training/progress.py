"""Where a run stands: what is saved with every checkpoint, beside tensors and generators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["Progress"]

# Names in a checkpoint's state.json that are older, and shorter, than those here
STORED = {
    "last_evaluated_step": "evaluated",
    "last_sampled_step": "sampled",
    "last_asked_step": "asked",
    "evaluations_since_best": "since_best",
    "bad_steps_in_a_row": "bad_steps",
    "loss_mean": "mean",
    "loss_deviation": "deviation",
    "finish_reason": "finished",
}


@dataclass
class Progress:
    """The counts of a run; the mean and the mean deviation of its loss are running ones."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    last_evaluated_step: int = 0
    last_sampled_step: int = 0
    last_asked_step: int = 0  # the suite
    best_loss: float | None = None
    best_step: int | None = None
    evaluations_since_best: int = 0
    bad_steps_in_a_row: int = 0
    loss_mean: float = 0.0
    loss_deviation: float = 0.0
    finish_reason: str | None = None

    def stored(self) -> dict[str, Any]:
        """Return it by the names of state.json."""
        return {STORED.get(field.name, field.name): getattr(self, field.name) for field in fields(self)}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Progress:
        """Return what `stored` gave; raise KeyError for a name that nobody knows."""
        names = {STORED.get(field.name, field.name): field.name for field in fields(cls)}
        return cls(**{names[name]: value for name, value in state.items()})
