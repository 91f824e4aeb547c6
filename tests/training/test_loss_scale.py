"""The scale of the loss in fp16: half where it overflows, double after 2,000 steps without, and never below one."""

from __future__ import annotations

from math import inf, nan

import pytest

from pylm.training.backend import LossScale


def test_it_halves_where_a_gradient_overflows_and_the_loss_does_not() -> None:
    scale = LossScale("fp16")
    assert scale.value == 65536
    assert scale.halved(2.5, inf) and scale.halved(2.5, nan) and scale.value == 16384
    assert not scale.halved(2.5, 1.0) and not scale.halved(nan, nan) and not scale.halved(inf, nan)
    scale.value = 1.0
    assert not scale.halved(2.5, inf) and scale.value == 1.0


def test_it_doubles_after_two_thousand_steps_in_a_row() -> None:
    scale = LossScale("fp16")
    for _ in range(1999):
        scale.count()
    assert scale.state() == [65536, 1999]
    again = LossScale("fp16")
    again.load(scale.state())
    assert again.halved(1.0, inf)
    again.count()
    assert again.state() == [32768, 1]
    scale.count()
    assert scale.state() == [131072, 0]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_other_precisions_have_none(precision: str) -> None:
    scale = LossScale(precision)
    for _ in range(2001):
        scale.count()
    assert not scale.used and not scale.halved(1.0, inf) and scale.value == 1.0
    scale.load([4096.0, 3.0])
    assert scale.value == 1.0
