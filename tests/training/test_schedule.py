"""Learning rates by step, against the formulas written once more and against torch's own schedulers."""

from __future__ import annotations

import math

import pytest
import torch

from pylm.config.schema import Train
from pylm.training.schedule import Schedule
from pylm.wording import in_options


def rates(kind: str, steps: int = 100, warmup: int | None = 10, ratio: float | None = 0.1) -> list[float]:
    least = {} if ratio is None else {"min_lr_ratio": ratio}
    schedule = Schedule.of(
        Train.model_validate({"schedule": kind, "learning_rate": 2.0, "warmup_steps": warmup, **least}), steps
    )
    return [schedule(step) for step in range(steps)]


@pytest.mark.parametrize("kind", ["cosine", "wsd", "trapezoid", "linear", "constant"])
def test_warmup_rises_in_a_line_to_the_peak(kind: str) -> None:
    found = rates(kind)
    assert found[:10] == pytest.approx([2.0 * (step + 1) / 10 for step in range(10)])
    assert max(found) == 2.0


def test_cosine_is_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=2.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=89, eta_min=0.2)
    expected = []
    for _ in range(90):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates("cosine")[10:] == pytest.approx(expected)


def test_wsd_keeps_the_peak_and_falls_in_the_last_fifth() -> None:
    found = rates("wsd")
    assert found[10:80] == [2.0] * 70
    assert found[80:] == pytest.approx([0.2 + 1.8 * (1 - math.sqrt((n + 1) / 20)) for n in range(20)])


def test_trapezoid_falls_in_a_line_to_the_floor() -> None:
    found = rates("trapezoid")
    assert found[10:35] == [2.0] * 25 and found[-1] == pytest.approx(0.2)
    falls = {round(before - after, 9) for before, after in zip(found[35:], found[36:], strict=False)}
    assert len(falls) == 1


def test_linear_is_torchs_and_ends_at_zero_unless_told_otherwise() -> None:
    for ratio, floor in ((None, 0.0), (0.0, 0.0), (0.25, 0.5)):
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=2.0)
        scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, floor / 2.0, total_iters=89)
        expected = []
        for _ in range(90):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        found = rates("linear", ratio=ratio)
        assert found[10:] == pytest.approx(expected, abs=1e-9) and found[10] == 2.0 and found[-1] == floor
    by_time = Schedule.of(Train(schedule="linear", learning_rate=2.0, warmup_steps=10), 100, by_clock=True)
    even = [by_time.by_progress(step, lambda step: (step + 1) / 100) for step in (10, 10 + 89 // 2, 99)]
    assert even == pytest.approx([2, 2 - 2 * 44 / 89, 0])


def test_the_others_keep_a_tenth() -> None:
    assert [rates(kind, ratio=None)[-1] for kind in ("cosine", "wsd", "trapezoid")] == pytest.approx([0.2] * 3)


def test_constant_stays() -> None:
    assert rates("constant")[10:] == [2.0] * 90


@pytest.mark.parametrize("kind", ["cosine", "wsd", "trapezoid", "linear", "constant"])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 5), (2, 1), (3, 3), (5, None), (7, 100)])
def test_short_runs_have_rates_too(kind: str, steps: int, warmup: int | None) -> None:
    assert all(0 < rate <= 2.0 for rate in rates(kind, steps, warmup))


def test_past_the_end_the_rate_stays_where_it_ended() -> None:
    schedule = Schedule.of(Train(learning_rate=1.0, warmup_steps=2), 50)
    assert schedule(49) == schedule(50) == schedule(1000) == pytest.approx(0.1)


def test_warmup_is_a_fiftieth_unless_given() -> None:
    assert Schedule.of(Train(), 1000).warmup == 20


def test_a_warmup_that_outlasts_the_run_is_said() -> None:
    late = Schedule.of(Train(learning_rate=2e-3, warmup_steps=50), 3)
    assert in_options(late.warning() or "") == (
        "the warmup takes 50 steps and the run has 3: the learning rate rises to 0.00012 and never falls; "
        "--warmup-steps null warms up for 2% of the run"
    )
    assert Schedule.of(Train(warmup_steps=50, schedule="constant"), 3).warning().count("never falls") == 0  # type: ignore[union-attr]
    for steps, warmup in ((51, 50), (3, 0), (1, None), (1000, None)):
        assert Schedule.of(Train(warmup_steps=warmup), steps).warning() is None
