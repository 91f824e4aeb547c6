"""How much of each parent is in the sum: shares that are the same for all tensors, or follow from their directions.

Whatever lies on a sphere between vectors is a sum of them, and the factors follow from their scalar products alone: so
slerp and Karcher's mean read the tensors twice, however often they iterate, and hold none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pylm.errors import CheckpointError
from pylm.soups.arithmetic import gram_of
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.checkpoint import Tensor
    from pylm.soups.arithmetic import Coefficients

__all__ = ["decayed", "fixed", "karcher", "karcher_factors", "slerp", "slerp_factors"]

# mergekit's constants of slerp: what counts as no direction, and as one direction
NO_LENGTH = 1e-8
PARALLEL = 0.9995
# Karcher's mean: the last step on the unit sphere is shorter than this, a sixth of fp32's precision
TOLERANCE = 1e-8
ROUNDS = 1000

Reals = npt.NDArray[np.float64]


def fixed(shares: Sequence[float]) -> Coefficients:
    """Return the same shares for every tensor."""
    return lambda tensors, name: shares


def decayed(count: int, decay: float) -> list[float]:
    """Return the shares of an exponential moving average over so many checkpoints, the oldest first.

    The average begins as the oldest, and then is decay · average + (1 − decay) · checkpoint.
    """
    later = [(1 - decay) * decay ** (count - 1 - number) for number in range(1, count)]
    return [decay ** (count - 1), *later]


def slerp(shares: Sequence[float]) -> Coefficients:
    """Return the factors of the point on the arc between two tensors, which is as near to each as its share is large.

    The shares add up to 1: mergekit's t is the second's.
    """
    return lambda tensors, name: slerp_factors(gram_of(tensors), shares)


def slerp_factors(gram: Reals, shares: Sequence[float]) -> Sequence[float]:
    """Return slerp's factors of two vectors by their scalar products: mergekit's, which are lerp's where parallel."""
    lengths = [length if length > NO_LENGTH else 1.0 for length in np.sqrt(gram.diagonal()).tolist()]
    cosine = float(gram[0, 1]) / (lengths[0] * lengths[1])
    if not abs(cosine) <= PARALLEL:  # NaN, of a tensor that is not finite, is found in the sum
        return shares
    angle = math.acos(cosine)
    return [math.sin(share * angle) / math.sin(angle) for share in shares]


def karcher(shares: Sequence[float]) -> Coefficients:
    """Return the factors of Karcher's mean: of directions on the sphere, scaled by the mean of the lengths."""

    def factors(tensors: Sequence[Tensor], name: str) -> Sequence[float]:
        found = karcher_factors(gram_of(tensors), shares)
        if found is None:
            raise CheckpointError(
                f"the directions of {name} have no mean: Karcher's iteration still moves by more than {TOLERANCE:g} "
                f"after {ROUNDS:,} rounds",
                f"the checkpoints point opposite ways there: take {param('method', 'mean')}",
            )
        return found

    return factors


def karcher_factors(gram: Reals, shares: Sequence[float]) -> Sequence[float] | None:
    """Return the factors of Karcher's mean of vectors by their scalar products; None where it does not converge.

    The mean m of unit vectors u is the fixed point of m ← m moved by Σ shareᵢ · logₘ(uᵢ) along the sphere, where
    logₘ(u) = θ / sin θ · (u − cos θ · m) and θ is the angle between the two. A vector of no length has no direction,
    and counts in the length alone.
    """
    if not np.isfinite(gram).all():
        return shares  # of a tensor that is not finite: it is found in the sum
    lengths = np.sqrt(gram.diagonal())
    there = np.flatnonzero(lengths)
    if not len(there):
        return shares
    weights = np.array(shares)[there] / math.fsum(np.array(shares)[there])
    cosines = gram[np.ix_(there, there)] / np.outer(lengths[there], lengths[there])
    mean = _unit(weights, cosines)
    for _ in range(ROUNDS):
        if mean is None:
            return None
        along = np.clip(cosines @ mean, -1, 1)
        angles = np.arccos(along)
        scale = weights * np.where(angles > 0, angles / np.where(angles > 0, np.sin(angles), 1), 1)
        step = scale - (scale @ along) * mean
        length = math.sqrt(max(float(step @ cosines @ step), 0.0))
        if length < TOLERANCE:
            break
        mean = _unit(math.cos(length) * mean + math.sin(length) / length * step, cosines)
    else:
        return None
    made = np.zeros(len(shares))
    made[there] = mean / lengths[there] * math.fsum(np.array(shares) * lengths)
    factors: list[float] = made.tolist()
    return factors


def _unit(mean: Reals, cosines: Reals) -> Reals | None:
    """Return a sum of unit vectors at length 1; None where it has no length, as of opposite ones."""
    length = math.sqrt(max(float(mean @ cosines @ mean), 0.0))
    return mean / length if length > NO_LENGTH else None
