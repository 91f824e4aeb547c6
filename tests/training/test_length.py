"""How many steps a run has: the first reached of its lengths, and a time counts from the run's start."""

from __future__ import annotations

import pytest

from pylm.config.schema import Train
from pylm.training.plan import Batches, resolve_length

BATCHES = Batches(1000, 1, 10, 10)


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({"max_steps": 7}, 7),
        ({"max_tokens": 2500}, 3),
        ({"max_epochs": 2.0}, 20),
        ({}, 10),
        ({"max_steps": 7, "max_tokens": 2500}, 3),
        ({"max_time": 100.0}, 200),
    ],
)
def test_the_first_reached_ends_a_run(given: dict[str, float], steps: int) -> None:
    length = resolve_length(Train(**given), BATCHES, 100, 0.5)  # type: ignore[arg-type]
    assert (length.steps, length.seconds) == (steps, given.get("max_time"))
    assert length.most == (None if "max_time" in given else steps)


@pytest.mark.parametrize("each", [0.05, 0.5, 50.0])
def test_what_is_left_of_a_time_goes_on_top_of_the_steps_that_lie_behind(each: float) -> None:
    """However slow the machine is now, the run has steps left; the time of those that lie behind is spent."""
    length = resolve_length(Train(max_time=140.0), BATCHES, 100, each, (80, 40.0))
    assert length.steps == 80 + max(int(100.0 / each), 1) and length.seconds == 140.0
    both = resolve_length(Train(max_time=140.0, max_steps=81), BATCHES, 100, each, (80, 40.0))
    assert both.steps == both.most == 81


def test_steps_that_there_may_be_no_time_for_end_a_run_all_the_same() -> None:
    """Planned is what the time is good for; the machine may turn out faster."""
    length = resolve_length(Train(max_time=50.0, max_steps=400, max_tokens=300_000), BATCHES, 1000, 0.5)
    assert (length.steps, length.most, length.seconds) == (100, 300, 50.0)
