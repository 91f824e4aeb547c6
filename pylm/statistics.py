"""Whether two measurements differ by more than chance: paired bootstrap, McNemar's test, Welch's. numpy and no more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["RESAMPLES", "Difference", "mcnemar", "paired_bootstrap", "welch"]

RESAMPLES = 10_000
DRAWN = 1 << 22  # indices that exist at a time

Reals = npt.ArrayLike


class Difference(NamedTuple):
    """How far two means are apart, with the interval that holds it with 95 %, and the chance of it by chance alone."""

    value: float
    low: float
    high: float
    p: float

    @property
    def is_distinguishable(self) -> bool:
        """Say whether 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    first: Reals, second: Reals, weights: Reals | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """Return the difference of two weighted means, second less first, over resampled pairs.

    Args:
        first: the sum of each item or document: its nats, whether it was right.
        second: the same items of the other.
        weights: what each sum is over, such as tokens or bytes; 1 if not given.
        resamples: how often the pairs are drawn anew, with replacement.
        seed: of the draws.
    """
    apart = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    over = np.ones(len(apart)) if weights is None else np.asarray(weights, np.float64)
    random, made = np.random.default_rng(seed), []
    each = max(DRAWN // max(len(apart), 1), 1)
    for start in range(0, resamples, each):
        drawn = random.integers(0, len(apart), (min(each, resamples - start), len(apart)))
        with np.errstate(invalid="ignore"):
            made.append(apart[drawn].sum(1) / over[drawn].sum(1))
    means = np.concatenate(made)
    low, high = np.nanquantile(means, [0.025, 0.975])
    below, above = int((means <= 0).sum()), int((means >= 0).sum())
    p = min(1.0, 2 * (min(below, above) + 1) / (resamples + 1))
    return Difference(float(apart.sum() / over.sum()), float(low), float(high), p)


def mcnemar(first: Sequence[bool] | npt.NDArray[np.bool_], second: Sequence[bool] | npt.NDArray[np.bool_]) -> float:
    """Return the chance that two which are alike differ so much on the same items: exact, two-sided."""
    one, other = np.asarray(first, bool), np.asarray(second, bool)
    gained, lost = int((other & ~one).sum()), int((one & ~other).sum())
    n = gained + lost
    if n == 0:
        return 1.0
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(min(gained, lost) + 1)]
    largest = max(logs)
    tail = math.fsum(math.exp(each - largest) for each in logs)
    return min(1.0, 2 * tail * math.exp(largest - n * math.log(2)))


def welch(first: Reals, second: Reals) -> float:
    """Return the chance that two means are so far apart by chance: Welch's t-test, two-sided, for unpaired samples."""
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    a, b = one.var(ddof=1) / len(one), other.var(ddof=1) / len(other)
    if a + b == 0:
        return 1.0 if one.mean() == other.mean() else 0.0
    t = float((one.mean() - other.mean()) / math.sqrt(a + b))
    freedom = float((a + b) ** 2 / (a**2 / (len(one) - 1) + b**2 / (len(other) - 1)))
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function, by Lentz's continued fraction."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where it converges slowly, its mirror does not
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 300):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / (1 + step * d), 1 + step / c
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * value / a
