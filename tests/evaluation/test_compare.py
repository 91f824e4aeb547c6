"""Checkpoints side by side, and the statistics below: against scipy's numbers, written out here, and exact sums."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.errors import UsageError
from pylm.evaluation.compare import compare
from pylm.evaluation.results import Evaluation
from pylm.evaluation.tally import Units
from pylm.statistics import mcnemar, paired_bootstrap, welch


def judged(nats: Any, tokens: Any, data: str = "d") -> Evaluation:
    count = len(nats)
    columns = (
        np.asarray(nats),
        np.asarray(tokens),
        np.zeros(count, np.int64),
        np.asarray(nats),
        3 * np.asarray(tokens),
    )
    return Evaluation(Path("x"), 1, "none", {"data": data}, data=data, units=Units(np.arange(count), *columns))


def test_what_differs_is_seen_and_what_does_not_is_said_aloud() -> None:
    random = np.random.default_rng(0)
    tokens = random.integers(5, 200, 300)
    nats = tokens * 3.0 + random.normal(0, 5, 300)
    first, same = judged(nats, tokens), judged(nats + random.normal(0, 5, 300), tokens)
    better = judged(nats - 0.1 * tokens + random.normal(0, 0.5, 300), tokens)
    loss, accuracy = compare(first, same)
    assert loss.verdict == accuracy.verdict == "not distinguishable" and loss.difference.low < 0 < loss.difference.high
    loss, _ = compare(first, better)
    assert loss.verdict == "better" and loss.difference.value == pytest.approx(-0.1, abs=0.01)
    assert compare(better, first)[0].verdict == "worse"
    assert compare(first, better) == compare(first, better), "the draws are seeded"


def test_models_of_two_tokenizers_are_compared_by_bytes() -> None:
    first = judged([10.0, 20.0, 30.0], [3, 6, 9])
    other = judged([5.0, 10.0, 15.0], [1, 2, 3])
    assert other.units is not None and first.units is not None
    other = Evaluation(
        Path("y"), 1, "none", {"data": "d"}, data="d", units=other.units._replace(bytes=first.units.bytes)
    )
    (bits,) = compare(first, other)
    assert bits.metric == "bits_per_byte" and bits.difference.value == pytest.approx(-30 / math.log(2) / 54)
    with pytest.raises(UsageError, match="different data"):
        compare(first, judged([1.0], [1], "e"))
    with pytest.raises(UsageError, match="no pairs"):
        compare(first, judged([1.0], [1]))
    assert compare(judged([1.0], [1]), judged([2.0], [1])) == []


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    held = 0
    for trial in range(100):
        one = random.normal(0, 1, 60)
        low, high = paired_bootstrap(one, one + random.normal(0.3, 1, 60), resamples=400, seed=trial)[1:3]
        held += low <= 0.3 <= high
    assert 88 <= held <= 100


def test_mcnemar_is_the_binomial_test() -> None:
    one = [True] * 12 + [False] * 3 + [True] * 50
    other = [False] * 12 + [True] * 3 + [True] * 50
    assert mcnemar(one, other) == pytest.approx(2 * sum(math.comb(15, k) for k in range(4)) / 2**15, rel=1e-9)
    assert mcnemar(one, one) == 1.0 and mcnemar([True, False], [False, True]) == 1.0
    assert mcnemar([True] * 5000, [False] * 5000) == pytest.approx(0, abs=1e-300)


def test_welch_is_the_integral_of_the_density() -> None:
    one, other = [20.1, 22.0, 19.5, 24.2, 21.1], [23.0, 25.4, 26.1, 22.2, 27.9, 24.5]
    a, b = np.var(one, ddof=1) / 5, np.var(other, ddof=1) / 6
    t = (np.mean(one) - np.mean(other)) / math.sqrt(a + b)
    freedom = (a + b) ** 2 / (a**2 / 4 + b**2 / 5)
    x = np.linspace(-abs(t), abs(t), 200_001)
    factor = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    inside = np.trapezoid(factor * (1 + x**2 / freedom) ** (-(freedom + 1) / 2), x)
    assert welch(one, other) == pytest.approx(1 - inside, rel=1e-6)
    assert welch([1.0, 1.0], [1.0, 1.0]) == 1.0
