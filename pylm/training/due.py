"""What is due at a step, and why a run ends there: decided in one place, from plain values.

It is asked twice a step. Before the model is looked at, what is to be evaluated and sampled; after that, whether to
save and to leave, for an evaluation may find a new best, or the last one that patience allows, and whoever asks to stop
may have done so in the middle of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pylm.training.decisions import Decisions

if TYPE_CHECKING:
    from pylm.config.schema import Train
    from pylm.training.plan import Length
    from pylm.training.progress import Progress

__all__ = ["BAD_STEPS", "EVALUATION_STEPS", "TIME_IS_UP", "Due", "Rules"]

TIME_IS_UP = "its time is up"
EVALUATION_STEPS = 250  # between evaluations where nobody says it
BAD_STEPS = 5  # that are not finite, one after the other, and the run gives up


@dataclass(frozen=True)
class Due:
    """The decisions of a step, in the order in which the loop takes them."""

    evaluation: bool
    samples: bool
    suite: bool = False
    checkpoint: bool = False
    by_a_stop: bool = False  # a checkpoint that would not be there if nobody had asked to stop
    end: str | None = None  # why the run ends here
    stopped: bool = False  # somebody asked to stop: it goes on another time

    @property
    def leaves(self) -> bool:
        """Whether no step follows."""
        return self.end is not None or self.stopped


@dataclass(frozen=True)
class Rules:
    """What decides: how often things happen, the run's length, and what there is to look at."""

    train: Train
    length: Length
    evaluates: bool  # there is a validation split
    samples: bool  # there are prompts to go on from
    decisions: Decisions = field(default_factory=Decisions)  # what a run's clock has decided by now
    asks: bool = False  # there are questions
    suite_every: int | Literal["auto"] | None = None

    def before(self, progress: Progress) -> Due:
        """Return what to look at, before a step or at the end."""
        end = self._reached(progress)
        return Due(*self._to_look_at(progress, end is not None), end=end)

    def after(self, due: Due, progress: Progress, *, new_best: bool, last_saved: int | None, stopped: bool) -> Due:
        """Return whether to save and to leave, once what was due has been looked at.

        Args:
            due: what was due.
            progress: where the run stands by now.
            new_best: whether the evaluation was the best so far.
            last_saved: the last step with a checkpoint.
            stopped: whether somebody asked to stop.
        """
        end = due.end or _given_up(self.train, progress)
        if stopped and any(self._to_look_at(progress, end is not None)):
            end = None  # the stop came into the last evaluation, or its samples: they are made when the run goes on
        anyway = (
            end is not None
            or new_best
            or self._reached(progress) is not None
            or _every(self.train.save_every, progress.step, last_saved or 0)
        )
        checkpoint = (stopped or anyway) and last_saved != progress.step
        return Due(False, False, checkpoint=checkpoint, by_a_stop=checkpoint and not anyway, end=end, stopped=stopped)

    def _to_look_at(self, progress: Progress, ends: bool) -> tuple[bool, bool, bool]:
        """Say whether to evaluate, to sample and to ask; `auto` does it whenever it is time to evaluate."""
        step = progress.step
        evaluation = self.evaluates and self._evaluation_is_due(step, progress.last_evaluated_step, ends)
        asks = self.asks and self._suite_is_due(step, progress.last_asked_step, ends)
        return evaluation, self._samples_are_due(step, progress.last_sampled_step, ends, asks), asks

    def _samples_are_due(self, step: int, last: int, ends: bool, asks: bool) -> bool:
        """Say whether to sample: with a suite always, which they are measured beside."""
        every = self.train.sample_every
        if not self.samples or every is None:
            return False
        own = self._evaluation_is_due(step, last, ends) if every == "auto" else _every(every, step, last)
        return own or (asks and last != step)

    def _suite_is_due(self, step: int, last: int, ends: bool) -> bool:
        if self.suite_every == "auto":
            return self._evaluation_is_due(step, last, ends)
        return _due(self.suite_every, step, last, ends)

    def _evaluation_is_due(self, step: int, last: int, ends: bool) -> bool:
        """Say whether what goes with an evaluation, of which `last` was the last, has yet to happen at a step."""
        every = self.train.eval_every
        if every == "auto" and self.length.seconds is not None:
            return step > 0 and last != step and (ends or step == self.decisions.look)
        return _due(EVALUATION_STEPS if every == "auto" else every, step, last, ends)

    def _reached(self, progress: Progress) -> str | None:
        """Say which length is reached, if one is."""
        if self.length.most is not None and progress.step >= self.length.most:
            return f"{self.length.most:,} steps"
        return TIME_IS_UP if self.length.seconds is not None and self.decisions.ended(progress.step) else None


def _given_up(train: Train, progress: Progress) -> str | None:
    """Say why there is no point in going on, if there is none."""
    if progress.bad_steps_in_a_row >= BAD_STEPS:
        return "steps that were not finite"
    if train.early_stop is not None and progress.evaluations_since_best >= train.early_stop:
        return f"no new best in {train.early_stop} evaluations"
    return None


def _due(every: int | None, step: int, last: int, ends: bool) -> bool:
    """Say whether what happens every so many steps, and at the end, has yet to happen at this one."""
    return _every(every, step, last) or (ends and step > 0 and last != step)


def _every(every: int | None, step: int, last: int) -> bool:
    return every is not None and step > 0 and step % every == 0 and last != step
