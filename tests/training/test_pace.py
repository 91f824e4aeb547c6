"""The speed that is shown, by a clock that is turned by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pylm.runs import read_lines
from pylm.training import pace
from pylm.training.events import Stepped
from pylm.training.loop import train
from pylm.training.pace import Pace
from pylm.training.progress import Progress


class Hand:
    """A run whose steps take what they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 5000.0
        monkeypatch.setattr(pace.time, "perf_counter", lambda: self.now)
        self.progress = Progress(step=40, tokens=1_000_000)  # it goes on from there
        self.pace = Pace(self.progress)

    def step(self, seconds: float, tokens: int = 4096) -> float:
        self.now += seconds
        self.progress.step += 1
        self.progress.tokens += tokens
        self.pace.count()
        return self.pace.tokens_per_second

    def apart(self, seconds: float) -> None:
        with self.pace.apart():
            self.now += seconds


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    return Hand(monkeypatch)


def test_before_ten_seconds_are_over_all_steps_count(hand: Hand) -> None:
    assert hand.step(1.0) == 4096
    assert hand.step(3.0) == pytest.approx(2 * 4096 / 4.0)
    assert hand.pace.seconds_per_step == pytest.approx(2.0)


def test_one_slow_step_moves_the_speed_little_and_for_ten_seconds_only(hand: Hand) -> None:
    for _ in range(100):
        hand.step(0.125)
    assert hand.step(3.0) == pytest.approx(57 * 4096 / 10.0)  # the step alone had 1,365 tokens/s, the others 32,768
    for _ in range(80):
        assert 57 * 4096 / 10.0 <= hand.step(0.125) <= 32_768
    assert hand.pace.tokens_per_second == 32_768 and hand.pace.seconds_per_step == 0.125


@pytest.mark.parametrize("before", [3, 200])
def test_what_is_done_apart_takes_no_time(hand: Hand, before: int) -> None:
    for _ in range(before):
        hand.step(0.25)
    hand.apart(60.0)
    hand.apart(7.0)
    assert hand.step(0.25) == 4 * 4096
    assert hand.pace.seconds_per_step == 0.25


def test_an_evaluation_that_fails_takes_no_time_either(hand: Hand) -> None:
    hand.step(0.5)
    with pytest.raises(KeyError), hand.pace.apart():
        hand.now += 30.0
        raise KeyError
    assert hand.step(0.5) == 2 * 4096


def test_a_step_longer_than_the_window_is_seen_whole(hand: Hand) -> None:
    hand.step(1.0)
    assert hand.step(40.0) == pytest.approx(4096 / 40.0)
    assert hand.step(20.0) == pytest.approx(4096 / 20.0)


def test_steps_of_growing_batches_are_counted_by_their_tokens(hand: Hand) -> None:
    for tokens in (1000, 2000, 4000):
        hand.step(1.0, tokens)
    assert hand.pace.tokens_per_second == pytest.approx(7000 / 3.0)


def test_a_run_is_as_fast_while_it_evaluates_samples_and_saves(session: Any, tmp_path: Path, hand: Hand) -> None:
    one = session(steps=12, eval_every=3, sample_every=4, save_every=5)
    step, evaluate, save = one.backend.step, one.hooks.evaluate, one.files.saver.save
    heard: list[Any] = []

    def taking(seconds: float, work: Any) -> Any:
        def timed(*given: Any) -> Any:
            hand.now += seconds
            return work(*given)

        return timed

    one.backend.step = taking(0.25, step)
    one.hooks.evaluate, one.hooks.sample = taking(100.0, evaluate), taking(30.0, lambda *given: [])
    one.files.saver.save = taking(10.0, save)
    one.hooks.on_event, one.hooks.wants_step, one.now = heard.append, lambda: True, lambda: hand.now
    train(one)
    steps = [record for record in read_lines(tmp_path / "run/metrics.jsonl") if "lr" in record]
    assert [record["tokens_per_second"] for record in steps] == [48 / 0.25] * 12
    assert [event.tokens_per_second for event in heard if isinstance(event, Stepped)] == [48 / 0.25] * 12
    assert one.progress.seconds > 400, "the clock of the run counts them"
