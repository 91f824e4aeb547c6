"""How many steps a run has: the first reached of its lengths, and a time counts from the run's start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pylm.config.schema import Train
from pylm.training.plan import TIME_SHARE, Batches, own_pace, resolve_length
from pylm.training.session import Beginning, _pace

BATCHES = Batches(1000, 1, 10, 10)


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({"max_steps": 7}, 7),
        ({"max_tokens": 2500}, 3),
        ({"max_epochs": 2.0}, 20),
        ({}, 10),
        ({"max_steps": 7, "max_tokens": 2500}, 3),
        ({"max_time": 100.0}, int(TIME_SHARE * 200)),
    ],
)
def test_the_first_reached_ends_a_run(given: dict[str, float], steps: int) -> None:
    length = resolve_length(Train(**given), BATCHES, 100, 0.5)  # type: ignore[arg-type]
    assert (length.steps, length.seconds) == (steps, given.get("max_time"))


@pytest.mark.parametrize("each", [0.05, 0.5, 50.0])
def test_what_is_left_of_a_time_goes_on_top_of_the_steps_that_lie_behind(each: float) -> None:
    """However slow the machine is now, the run has steps left; the time of those that lie behind is spent."""
    length = resolve_length(Train(max_time=140.0), BATCHES, 100, each, (80, 40.0))
    assert length.steps == 80 + max(int(TIME_SHARE * 100.0 / each), 1) and length.seconds == 140.0
    both = resolve_length(Train(max_time=140.0, max_steps=81), BATCHES, 100, each, (80, 40.0))
    assert both.steps == 81


def test_a_run_that_goes_on_is_planned_by_its_own_pace() -> None:
    """A step that took twice what was measured before the first one takes as long from now on."""
    done = (100, 100.0)
    each = own_pace(0.5, done)
    assert each == 1.0
    assert resolve_length(Train(max_time=120.0), BATCHES, 1000, each, done).steps == 100 + int(TIME_SHARE * 20)
    assert own_pace(0.5, (100, 1.0)) == 0.5  # in so short a time, warming up is most
    assert own_pace(0.5, (9, 90.0)) == own_pace(0.5, (0, 0.0)) == 0.5  # of few steps, the first ones are most


def test_the_pace_of_another_machine_says_nothing() -> None:
    then = {"device_name": "one", "seconds_per_step": 0.5}
    state = {"choices": then, "progress": {"seconds": 100.0}}
    checkpoint: Any = SimpleNamespace(step=100, state=state)
    begin = Beginning(None, None, checkpoint)  # type: ignore[arg-type]
    assert _pace(begin, then) == 1.0
    assert _pace(begin, {**then, "device_name": "another"}) == 0.5
    assert _pace(Beginning(None, None), then) == 0.5  # type: ignore[arg-type]
