"""slerp and Karcher's mean against mergekit's definitions, written plainly in float64 over whole tensors."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylm.errors import CheckpointError
from pylm.soups.methods import decayed, karcher, karcher_factors, slerp_factors
from tests.soups.small_checkpoints import tensor

Reals = npt.NDArray[np.float64]


def mergekit_slerp(t: float, v0: Reals, v1: Reals) -> Reals:
    """As in mergekit.merge_methods.slerp."""
    u0, u1 = (v / np.linalg.norm(v) if np.linalg.norm(v) > 1e-8 else v for v in (v0, v1))
    dot = np.sum(u0 * u1)
    if np.abs(dot) > 0.9995:
        return (1 - t) * v0 + t * v1
    theta = np.arccos(dot)
    made: Reals = np.sin(theta - theta * t) / np.sin(theta) * v0 + np.sin(theta * t) / np.sin(theta) * v1
    return made


def mergekit_karcher(vectors: Reals, alphas: Reals, rounds: int = 200, tolerance: float = 1e-13) -> Reals:
    """As in mergekit.merge_methods.karcher, but to more digits."""
    norms = np.linalg.norm(vectors, axis=1)
    units, weights = vectors[norms > 0] / norms[norms > 0, None], alphas[norms > 0] / alphas[norms > 0].sum()
    u = weights @ units
    u /= np.linalg.norm(u)
    for _ in range(rounds):
        tangent = np.zeros_like(u)
        for weight, unit in zip(weights, units, strict=True):
            dot = np.clip(unit @ u, -1, 1)
            theta = np.arccos(dot)
            if theta > 1e-9:
                tangent += weight * theta / np.sin(theta) * (unit - dot * u)
        length = np.linalg.norm(tangent)
        if length < tolerance:
            break
        u = np.cos(length) * u + np.sin(length) * tangent / length
        u /= np.linalg.norm(u)
    made: Reals = (alphas @ norms) * u
    return made


def near(seed: int, count: int, spread: float, size: int = 50) -> Reals:
    """Vectors around one, each of its own length."""
    random = np.random.default_rng(seed)
    made: Reals = random.standard_normal(size) + spread * random.standard_normal((count, size))
    return made * random.uniform(0.1, 3, (count, 1))


@given(st.integers(0, 2**32), st.floats(0, 1), st.sampled_from([0.0, 1e-9, 0.001, 0.03, 1.0, 30.0]))
def test_slerp_is_mergekits(seed: int, t: float, spread: float) -> None:
    vectors = near(seed, 2, spread)
    found = np.array(slerp_factors(vectors @ vectors.T, [1 - t, t])) @ vectors
    wanted = mergekit_slerp(t, vectors[0], vectors[1])
    assert np.abs(found - wanted).max() <= 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("second", [np.zeros(5), np.full(5, 1e-12), -np.ones(5)])
def test_slerp_without_a_direction_is_mergekits(second: Reals) -> None:
    vectors = np.stack([np.ones(5), second])
    found = np.array(slerp_factors(vectors @ vectors.T, [0.7, 0.3])) @ vectors
    assert np.allclose(found, mergekit_slerp(0.3, vectors[0], vectors[1]), atol=1e-12)


@given(st.integers(0, 2**32), st.integers(2, 6), st.sampled_from([1e-6, 0.01, 0.3, 0.8]))
def test_karcher_is_mergekits(seed: int, count: int, spread: float) -> None:
    vectors = near(seed, count, spread)
    shares = np.random.default_rng(seed).dirichlet(np.ones(count) * 3) + 1e-3
    shares /= shares.sum()
    factors = karcher_factors(vectors @ vectors.T, shares.tolist())
    assert factors is not None
    found, wanted = np.array(factors) @ vectors, mergekit_karcher(vectors, shares)
    assert np.linalg.norm(found - wanted) <= 1e-6 * np.linalg.norm(wanted)


def test_karcher_of_two_is_the_middle_of_the_arc() -> None:
    vectors = near(3, 2, 1.0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    factors = karcher_factors(vectors @ vectors.T, [0.5, 0.5])
    assert factors is not None and np.allclose(factors, slerp_factors(vectors @ vectors.T, [0.5, 0.5]), atol=1e-9)


@pytest.mark.parametrize("copies", [2, 3])
def test_karcher_of_the_same_is_the_same(copies: int) -> None:
    vectors = np.stack([near(1, 1, 0.1)[0]] * copies)
    factors = karcher_factors(vectors @ vectors.T, [1 / copies] * copies)
    assert factors is not None and np.allclose(np.array(factors) @ vectors, vectors[0], rtol=1e-12)


def test_karcher_counts_no_direction_of_zeros_and_only_their_length() -> None:
    vectors = np.stack([np.ones(4), np.zeros(4)])
    factors = karcher_factors(vectors @ vectors.T, [0.5, 0.5])
    assert factors is not None and np.allclose(np.array(factors) @ vectors, mergekit_karcher(vectors, np.full(2, 0.5)))
    assert karcher_factors(np.zeros((2, 2)), [0.5, 0.5]) == [0.5, 0.5]


def test_opposite_directions_have_no_mean() -> None:
    one = np.random.default_rng(0).standard_normal(6)
    with pytest.raises(CheckpointError, match="the directions of w have no mean"):
        karcher([0.5, 0.5])([tensor(one), tensor(-one)], "w")


@given(st.integers(1, 9), st.floats(0, 0.999))
def test_a_moving_average_is_the_loop(count: int, decay: float) -> None:
    values = np.random.default_rng(count).standard_normal(count)
    average = values[0]
    for value in values[1:]:
        average = decay * average + (1 - decay) * value
    assert math.isclose(np.dot(decayed(count, decay), values), average, rel_tol=1e-12, abs_tol=1e-12)
