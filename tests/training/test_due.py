"""What is due at a step, from plain values: a table that can be read, and a slow account that says the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pylm.config.schema import Train
from pylm.training.decisions import Decisions, Segment
from pylm.training.due import BAD_STEPS, TIME_IS_UP, Due, Rules
from pylm.training.plan import Length
from pylm.training.progress import Progress

CAN: Any = {"evaluates": True, "samples": True}


def before(
    step: int, *, steps: int = 100, seconds: float | None = None, limit: int | None = None, end: int = 0, look: int = 0,
    every: Any = 10, can: Any = CAN, **given: Any,
) -> Due:  # fmt: skip
    train = Train(eval_every=every, save_every=20, sample_every=given.pop("sample_every", "auto"))
    decisions = Decisions([Segment(0, 0.0, end)] if end else [], look=look)
    return Rules(train, Length(steps, "max_steps", seconds, limit), **can, decisions=decisions).before(
        Progress(step=step, **given)
    )


@pytest.mark.parametrize(
    ("step", "given", "evaluation", "samples", "end"),
    [
        (0, {}, False, False, None),  # nothing was learned yet
        (9, {}, False, False, None),
        (10, {}, True, True, None),
        (10, {"last_evaluated_step": 10}, False, True, None),  # a resume after an evaluation, before its samples
        (10, {"last_sampled_step": 10}, True, False, None),
        (10, {"sample_every": 5}, True, True, None),
        (15, {"sample_every": 5}, False, True, None),
        (10, {"sample_every": None}, True, False, None),
        (10, {"can": {"evaluates": False, "samples": True}}, False, True, None),
        (10, {"can": {"evaluates": True, "samples": False}}, True, False, None),
        (13, {"steps": 13}, True, True, "13 steps"),  # at the end, whatever the step
        (13, {"steps": 13, "last_evaluated_step": 13, "last_sampled_step": 13}, False, False, "13 steps"),
        (13, {"steps": 13, "sample_every": 5}, True, False, "13 steps"),
        (0, {"steps": 0}, False, False, "0 steps"),
        (13, {"seconds": 2.0, "end": 14}, False, False, None),
        (13, {"seconds": 2.0, "end": 13}, True, True, TIME_IS_UP),
        (13, {"seconds": 2.0, "end": 14, "limit": 13}, True, True, "13 steps"),
        (13, {"seconds": 2.0, "end": 14, "steps": 13}, False, False, None),  # planned, and there is more time
        (250, {"every": "auto", "steps": 300}, True, True, None),
        (251, {"every": "auto", "steps": 300}, False, False, None),
        (250, {"every": "auto", "seconds": 2.0, "end": 300}, False, False, None),  # its clock says when
        (251, {"every": "auto", "seconds": 2.0, "end": 300, "look": 251}, True, True, None),
        (252, {"every": "auto", "seconds": 2.0, "end": 300, "look": 251}, False, False, None),
        (
            251,
            {"every": "auto", "seconds": 2.0, "end": 300, "look": 251, "last_evaluated_step": 251},
            False,
            True,
            None,
        ),
        (251, {"every": "auto", "seconds": 2.0, "end": 251}, True, True, TIME_IS_UP),
    ],
)
def test_what_is_looked_at(step: int, given: Any, evaluation: bool, samples: bool, end: str | None) -> None:
    due = before(step, **given)
    assert (due.evaluation, due.samples, due.end) == (evaluation, samples, end)


def after(due: Due, progress: Progress, can: Any = CAN, **given: Any) -> Due:
    rules = Rules(Train(eval_every=10, save_every=20, early_stop=3), Length(100, ""), **can)
    return rules.after(due, progress, **{"new_best": False, "last_saved": None, "stopped": False, **given})


@pytest.mark.parametrize(
    ("progress", "given", "checkpoint", "leaves"),
    [
        ({"step": 20}, {}, True, False),
        ({"step": 20}, {"last_saved": 20}, False, False),
        ({"step": 21}, {}, False, False),
        ({"step": 21}, {"new_best": True}, True, False),
        ({"step": 21}, {"stopped": True}, True, True),
        ({"step": 21}, {"stopped": True, "last_saved": 21}, False, True),
        ({"step": 21, "bad_steps_in_a_row": BAD_STEPS - 1}, {}, False, False),
        ({"step": 21, "bad_steps_in_a_row": BAD_STEPS}, {}, True, True),
        ({"step": 21, "evaluations_since_best": 2}, {}, False, False),
        ({"step": 21, "evaluations_since_best": 3}, {}, True, True),
        ({"step": 0}, {"stopped": True}, True, True),
    ],
)
def test_what_is_saved_and_who_leaves(progress: Any, given: Any, checkpoint: bool, leaves: bool) -> None:
    due = after(Due(False, False), Progress(**progress), **given)
    assert (due.checkpoint, due.leaves) == (checkpoint, leaves)


def test_a_checkpoint_is_by_a_stop_where_there_would_be_none_without() -> None:
    none = Due(False, False)
    assert after(none, Progress(step=21), stopped=True).by_a_stop
    assert not after(none, Progress(step=21)).by_a_stop
    assert not after(none, Progress(step=21), stopped=True, last_saved=21).by_a_stop
    assert not after(none, Progress(step=21), stopped=True, new_best=True).by_a_stop
    assert not after(none, Progress(step=40), stopped=True).by_a_stop  # one of every 20
    assert not after(Due(True, True, end="100 steps"), Progress(step=100), stopped=True).by_a_stop


def test_a_stop_within_the_last_evaluation_is_no_end() -> None:
    """The evaluation was not made, so the run is not over: going on makes it."""
    due = Due(True, True, end="30 steps")
    assert after(due, Progress(step=30), stopped=True).end is None
    assert after(due, Progress(step=30, last_evaluated_step=30), stopped=True).end is None  # its samples were not
    assert after(due, Progress(step=30, last_evaluated_step=30, last_sampled_step=30), stopped=True).end == "30 steps"
    assert after(due, Progress(step=30), can={"evaluates": False, "samples": False}, stopped=True).end == "30 steps"


def test_random_runs_do_everything_once_and_on_time() -> None:
    """A run of decisions alone, against what a reader would list: each event at each of its steps, none twice."""
    chance = np.random.default_rng(4)
    for _ in range(50):
        evals, saves, samples, steps = (int(number) for number in chance.integers(1, 9, 4))
        train = Train(eval_every=evals, save_every=saves, sample_every=samples)
        rules, progress, last_saved = Rules(train, Length(steps, ""), **CAN), Progress(), None
        done: dict[str, list[int]] = {"evaluation": [], "samples": [], "checkpoint": []}
        while True:
            due = rules.before(progress)
            if due.evaluation:
                progress.last_evaluated_step = progress.step
                done["evaluation"].append(progress.step)
            if due.samples:
                progress.last_sampled_step = progress.step
                done["samples"].append(progress.step)
            due = rules.after(due, progress, new_best=False, last_saved=last_saved, stopped=False)
            if due.checkpoint:
                last_saved = progress.step
                done["checkpoint"].append(progress.step)
            if due.leaves:
                break
            progress.step += 1
        assert done["evaluation"] == sorted(multiples(evals, steps) | {steps})
        assert done["samples"] == sorted(multiples(samples, steps))
        assert done["checkpoint"] == sorted(multiples(saves, steps) | {steps})


def multiples(number: int, steps: int) -> set[int]:
    return set(range(number, steps + 1, number))


@pytest.mark.parametrize(
    ("step", "every", "given", "suite", "samples"),
    [
        (6, 6, {}, True, True),  # with what is written to be measured beside it
        (6, 6, {"last_sampled_step": 6}, True, False),  # a resume after its samples, before it
        (6, 6, {"last_asked_step": 6}, False, False),
        (6, 6, {"sample_every": None}, True, False),
        (7, 6, {}, False, False),
        (10, 6, {}, False, True),  # an evaluation's own
        (13, 6, {"steps": 13}, True, True),  # at the end, whatever the step
        (13, None, {"steps": 13}, True, True),
        (12, None, {"steps": 13}, False, False),
        (10, "auto", {}, True, True),
        (10, "auto", {"last_asked_step": 10}, False, True),
        (251, "auto", {"every": "auto", "seconds": 2.0, "end": 300, "look": 251}, True, True),
        (13, 6, {"steps": 13, "last_asked_step": 13, "last_sampled_step": 13}, False, False),
        (0, 6, {"steps": 0}, False, False),
    ],
)
def test_when_questions_are_asked(step: int, every: Any, given: Any, suite: bool, samples: bool) -> None:
    due = before(step, can={**CAN, "asks": True, "suite_every": every}, **given)
    assert (due.suite, due.samples) == (suite, samples)
    assert not before(step, can={**CAN, "suite_every": every}, **given).suite


def test_a_stop_within_the_last_suite_is_no_end() -> None:
    due, can = Due(True, True, True, end="30 steps"), {**CAN, "asks": True}
    looked = {"last_evaluated_step": 30, "last_sampled_step": 30}
    rules = Rules(Train(eval_every=10), Length(30, ""), **can)
    for asked, end in ((0, None), (30, "30 steps")):
        progress = Progress(step=30, last_asked_step=asked, **looked)
        assert rules.after(due, progress, new_best=False, last_saved=None, stopped=True).end == end
