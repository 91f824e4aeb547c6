"""Runs under a clock that tests wind: whatever the machine does meanwhile, a run lands, and a resume repeats it."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pylm.checkpoint import verify
from pylm.config.schema import Train
from pylm.errors import Interrupted
from pylm.runs import read_lines
from pylm.training.backend import StepResult
from pylm.training.decisions import Decisions, Segment
from pylm.training.loop import train
from pylm.training.schedule import Schedule

T = 300.0
FLOOR, PEAK = 0.05, 0.5
KINDS = ["cosine", "wsd", "trapezoid"]


class Machine:
    """A clock, and what a step costs by it; `trains`: whether steps are computed too."""

    def __init__(
        self, step: Callable[[float], float] = lambda now: 1.0, evaluation: float = 0.0, trains: bool = False
    ) -> None:
        self.seconds, self.step, self.evaluation, self.trains = 0.0, step, evaluation, trains
        self.evaluations = 0

    def now(self) -> float:
        return self.seconds

    def drive(self, one: Any) -> Any:
        """Let a session's steps and evaluations take their time."""
        step, evaluate = one.backend.step, one.hooks.evaluate

        def slow_step(*arguments: Any) -> Any:
            self.seconds += self.step(self.seconds)
            if self.trains:
                return step(*arguments)
            one.backend.steps.append((6, arguments[1]))
            return StepResult(1.0, 1.0, True)

        def slow_evaluation(*arguments: Any) -> Any:
            self.seconds += self.evaluation
            self.evaluations += 1
            return evaluate(*arguments)._replace(loss=float(self.evaluations))  # the first is the best, and saved

        one.backend.step, one.hooks.evaluate = slow_step, slow_evaluation
        return one


def clocked(session: Any, machine: Machine, run: str = "run", **more: Any) -> Any:
    settings = {"max_time": T, "steps": 300, "eval_every": None, "save_every": None, "step_seconds": 1.0}
    return machine.drive(session(run, now=machine.now, **{**settings, **more}))


def rates(one: Any) -> list[float]:
    return [rate for _, rate in one.backend.steps]


SPEEDS: dict[str, tuple[Callable[[float], float], int]] = {
    "even": (lambda now: 1.0, 300),
    "30 % slower half way": (lambda now: 1.0 if now < 150 else 1 / 0.7, 255),
    "half as fast from a third on": (lambda now: 1.0 if now < 100 else 2.0, 200),
    "twice as fast half way": (lambda now: 1.0 if now < 150 else 0.5, 450),
    "a pause of a fifth": (lambda now: 61.0 if 99.5 < now < 100.5 else 1.0, 240),
    "not what was measured": (lambda now: 0.3, 1000),
    "its first step compiles": (lambda now: 31.0 if now == 0 else 1.0, 270),
    "every fourth step is slow": (lambda now: 1.75 if int(now) % 4 == 0 else 0.75, 300),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("speed", SPEEDS)
def test_a_run_lands_whatever_the_machine_does(session: Any, kind: str, speed: str) -> None:
    step, steps = SPEEDS[speed]
    one = clocked(session, Machine(step), schedule=kind)
    outcome = train(one)
    assert outcome.why == "its time is up"
    assert one.progress.seconds == pytest.approx(T, rel=0.02)
    assert outcome.step == pytest.approx(steps, rel=0.12)
    found = rates(one)
    assert found[-1] == pytest.approx(FLOOR, abs=1e-12) and max(found) <= PEAK
    falls = found[found.index(max(found)) :]
    assert all(after <= before for before, after in zip(falls, falls[1:], strict=False))
    # no step jumps: the sharpest fall there is, the end of a root over a fifth of the run, and what speeds share of it
    jumps = max(before - after for before, after in zip(falls, falls[1:], strict=False))
    assert jumps <= {"cosine": 0.06, "wsd": 0.25, "trapezoid": 0.06}[kind] * PEAK


def test_what_was_measured_in_a_busy_hour_does_not_end_a_run(session: Any) -> None:
    one = clocked(session, Machine(lambda now: 1.0), steps=1, step_seconds=200.0)
    one.hooks.evaluation_tokens = 48 * 10  # which such steps make longer than the run
    outcome = train(one)
    assert outcome.step > 250 and one.progress.seconds == pytest.approx(T, rel=0.02)
    assert rates(one)[0] > FLOOR and max(rates(one)) > 0.9 * PEAK and rates(one)[-1] == pytest.approx(FLOOR)


@pytest.mark.parametrize("every", [None, 10, 40])
@pytest.mark.parametrize("cost", [0.5, 6.0])
def test_evaluations_are_made_within_the_time(session: Any, every: int | None, cost: float) -> None:
    machine = Machine(evaluation=cost)
    one = clocked(session, machine, eval_every=every)
    one.hooks.evaluation_tokens = round(48 * cost / 0.4)  # as they would be counted, at a step's speed
    outcome = train(one)
    assert one.progress.seconds == machine.seconds == pytest.approx(T, rel=0.02)
    assert one.progress.last_evaluated_step == outcome.step and outcome.evaluation is not None
    assert machine.evaluations == 1 + ((outcome.step - 1) // every if every else 0)
    assert rates(one)[-1] == pytest.approx(FLOOR)


@pytest.mark.parametrize(("step", "cost", "fewest"), [(1.0, 0.1, 8), (1.0, 2.0, 4), (10.0, 1.0, 5), (0.1, 0.1, 10)])
def test_evaluations_take_their_share_of_the_time(session: Any, step: float, cost: float, fewest: int) -> None:
    """However slow or fast its steps: often, and for no more than a twentieth."""
    machine = Machine(lambda now: step, evaluation=cost)
    one = clocked(session, machine, eval_every="auto", steps=round(T / step), step_seconds=step, log_every=100)
    train(one)
    assert machine.evaluations >= fewest and machine.evaluations * cost <= 0.055 * T
    assert machine.seconds == pytest.approx(T, rel=0.02 if step < 5 else 0.03)


def test_an_evaluation_that_is_too_long_for_its_share_is_made_at_the_end_alone(session: Any) -> None:
    machine = Machine(evaluation=20.0)
    one = clocked(session, machine, eval_every="auto")
    one.hooks.evaluation_tokens = round(48 * 20 / 0.4)
    train(one)
    assert machine.evaluations == 1 and machine.seconds == pytest.approx(T, rel=0.02)


def test_steps_that_end_a_run_early_have_their_own_rates(session: Any, tmp_path: Path) -> None:
    """With time to spare, a run of so many steps is the one that it is without a clock, but for rounding."""
    free = session("free", steps=40, eval_every=7)
    train(free)
    one = clocked(session, Machine(), steps=40, limit=True, warmup_steps=1, eval_every=7)
    assert train(one).why == "40 steps"
    assert rates(one) == pytest.approx(rates(free), rel=1e-12)
    assert len(one.decisions.segments) == 1


def test_a_time_that_is_up_before_its_steps_lands_too(session: Any) -> None:
    one = clocked(session, Machine(lambda now: 1.0 if now < 100 else 2.0), steps=280, limit=True)
    assert train(one).why == "its time is up" and one.progress.seconds == pytest.approx(T, rel=0.02)
    assert rates(one)[-1] == pytest.approx(FLOOR)


def test_a_hundred_thousand_steps_are_a_few_hundred_segments(session: Any) -> None:
    from pylm.training.plan import Length
    from pylm.training.timekeeper import Cadence, Timekeeper

    decisions = Decisions()
    keeper = Timekeeper(Length(10**5, "", 1e4), decisions, Cadence(250, False, 500, None), 0.0, step_seconds=0.1)
    seconds, step = 0.0, 0
    while not decisions.ended(step):
        keeper.consult(step, seconds)
        step, seconds = step + 1, seconds + (0.1 if step % 7 else 0.13)
    assert seconds == pytest.approx(1e4, rel=0.002) and 9e4 < step < 1e5
    assert len(decisions.segments) < 300 and len(json.dumps(decisions.stored())) < 20_000


def test_what_was_decided_is_in_the_metrics_and_in_the_state(session: Any, tmp_path: Path) -> None:
    machine = Machine(lambda now: 1.0 + 0.3 * math.sin(now / 20), trains=True)
    one = clocked(session, machine, log_every=10)
    train(one)
    lines = [line for line in read_lines(tmp_path / "run/metrics.jsonl") if "lr" in line]
    segments = [Segment(*segment) for line in lines for segment in line.get("clock", ())]
    state = verify(tmp_path / f"run/checkpoints/step_{one.progress.step}").state["decisions"]
    assert state["segments"] == [list(segment) for segment in segments] and len(segments) > 3
    again, schedule = Decisions(segments), one.plan.schedule
    assert [schedule.by_progress(step, again.progress) for step in range(one.progress.step)] == rates(one)
    assert [line["progress"] for line in lines] == [again.progress(line["step"] - 1) for line in lines]
    assert lines[-1]["progress"] == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_resume_repeats_what_was_decided(session: Any, tmp_path: Path, kind: str) -> None:
    """Killed at step 187, it goes on from 100: the steps to 180, whose lines are there, on a machine half as fast."""
    machine = Machine(lambda now: 1.0 + 0.2 * math.sin(now / 20), trains=True)
    settings: Any = {"schedule": kind, "save_every": 100, "eval_every": "auto", "log_every": 10, "keep_last": 99}
    one = clocked(session, machine, "killed", **settings)
    step = one.backend.step

    def killed(*arguments: Any) -> Any:
        if one.progress.step == 187:
            raise MemoryError
        return step(*arguments)

    one.backend.step = killed
    with pytest.raises(MemoryError):
        train(one)
    one.files.saver.wait()
    one.files.folder.close()
    first = [line for line in read_lines(tmp_path / "killed/metrics.jsonl")]
    slow = Machine(lambda now: 2.0, trains=True)
    checkpoint = verify(tmp_path / "killed/checkpoints/step_100")
    again = clocked(session, slow, "killed", checkpoint=checkpoint, **settings)
    train(again)
    assert rates(again)[:80] == rates(one)[100:180]
    lines = read_lines(tmp_path / "killed/metrics.jsonl")
    decided = ("step", "lr", "progress", "clock", "loss", "evaluated")
    for line in (*first, *lines):
        line["evaluated"] = "val_loss" in line
    replayed = [{key: line[key] for key in decided if key in line} for line in lines]
    assert replayed[: len(first)] == [{key: line[key] for key in decided if key in line} for line in first]
    assert sum(line["evaluated"] for line in first if line["step"] > 100) > 1
    assert again.progress.seconds == pytest.approx(T, rel=0.02) and rates(again)[-1] == pytest.approx(FLOOR)
    assert again.progress.step < 220  # what followed was the slow machine's


def test_a_stop_loses_nothing_that_was_decided(session: Any, tmp_path: Path) -> None:
    machine = Machine()
    one = clocked(session, machine, "stopped")
    step = one.backend.step

    def stopping(*arguments: Any) -> Any:
        if one.progress.step == 149:
            one.hooks.stop.signal = signal.SIGTERM
        return step(*arguments)

    one.backend.step = stopping
    with pytest.raises(Interrupted):
        train(one)
    one.files.folder.close()
    checkpoint = verify(tmp_path / "stopped/checkpoints/step_150")
    again = clocked(session, machine, "stopped", checkpoint=checkpoint)
    train(again)
    whole = clocked(session, Machine(), "whole")
    train(whole)
    assert rates(one) + rates(again) == pytest.approx(rates(whole), rel=0.02)
    assert again.progress.seconds == pytest.approx(T, rel=0.02)


def test_a_time_given_anew_lays_the_rate_over_all_of_it(session: Any, tmp_path: Path) -> None:
    machine = Machine()
    first = clocked(session, machine, "longer")
    train(first)
    first.files.folder.close()
    step = int((tmp_path / "longer/checkpoints/last").read_text().split("_")[1])
    checkpoint = verify(tmp_path / f"longer/checkpoints/step_{step}")
    again = clocked(session, machine, "longer", max_time=2 * T, steps=600, checkpoint=checkpoint)
    again.decisions.segments.clear()  # as lengths that differ have it
    train(again)
    assert rates(again)[0] == pytest.approx((PEAK + FLOOR) / 2, rel=0.03)  # half way down a cosine
    assert rates(again)[-1] == pytest.approx(FLOOR) and again.progress.seconds == pytest.approx(2 * T, rel=0.02)


@pytest.mark.parametrize("kind", [*KINDS, "constant"])
@pytest.mark.parametrize("warmup", [0, 1, 7, 400])
def test_even_steps_have_the_rates_that_they_have_by_number(kind: str, warmup: int) -> None:
    given = Train(schedule=kind, warmup_steps=warmup)  # type: ignore[arg-type]
    schedule = Schedule.of(given, 400, by_clock=True)
    even = Segment(0, 0.0, 400)
    by_clock = [schedule.by_progress(step, even.progress) for step in range(400)]
    assert by_clock == pytest.approx([schedule(step) for step in range(400)], rel=1e-12)


def test_warmup_is_a_fiftieth_of_the_time_unless_given() -> None:
    schedule = Schedule.of(Train(learning_rate=1.0), 100, by_clock=True)
    even = Segment(0, 0.0, 1000)
    assert [schedule.by_progress(step, even.progress) for step in range(20)] == pytest.approx(
        [(step + 1) / 20 for step in range(20)]
    )
    assert str(schedule) == "learning rate 1 falling to 0.1 (cosine) after 2% of the time of warmup"


# What these runs were before there was a clock in the schedule: runs without a time are that to the bit.
LOSSES = {
    "cosine": [3.9120230674743652, 3.8361496130625405, 3.734687169392904, 3.573797067006429, 3.5419294834136963,
               3.4797107378641763],
    "wsd": [3.9120230674743652, 3.8352954387664795, 3.719376484553019, 3.4960574309031167, 3.365394433339437,
            3.192723592122396],
    "trapezoid": [3.9120230674743652, 3.8352954387664795, 3.719376484553019, 3.523939291636149, 3.462387959162394,
                  3.37066380182902],
    "constant": [3.9120230674743652, 3.8352954387664795, 3.719376484553019, 3.4960574309031167, 3.365394433339437,
                 3.179652372996012],
}  # fmt: skip


@pytest.mark.parametrize("kind", LOSSES)
def test_runs_of_so_many_steps_are_what_they_were(session: Any, tmp_path: Path, kind: str) -> None:
    one = session(kind, steps=30, schedule=kind, eval_every=7, save_every=9)
    train(one)
    lines = read_lines(tmp_path / kind / "metrics.jsonl")
    assert [line["loss"] for line in lines if "loss" in line][::5] == pytest.approx(LOSSES[kind], rel=1e-6)
    assert [line["step"] for line in lines if "val_loss" in line] == [7, 14, 21, 28, 30]
    assert not any({"progress", "clock"} & set(line) for line in lines)
    assert "decisions" not in verify(tmp_path / kind / "checkpoints/step_30").state
    assert rates(one) == [rate_before(kind, step) for step in range(30)]


def rate_before(kind: str, step: int, steps: int = 30, warmup: int = 1) -> float:
    """The rate of a step as it was computed then, to the bit."""
    peak, floor = PEAK, PEAK * 0.1
    if step < warmup:
        return peak * (step + 1) / warmup
    if kind == "constant":
        return peak
    if kind == "cosine":
        done = (step - warmup) / max(steps - 1 - warmup, 1)
        return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * done))
    begin = max(steps - round((0.2 if kind == "wsd" else 0.65) * steps), warmup)
    if step < begin:
        return peak
    done = (step - begin + 1) / max(steps - begin, 1)
    left = 1 - math.sqrt(done) if kind == "wsd" else 1 - done
    return floor + (peak - floor) * left
