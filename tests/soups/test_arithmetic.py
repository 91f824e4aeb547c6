"""Sums of tensors against numpy's and torch's in float64: one unit in the last place of what is stored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pylm.checkpoint import Tensor
from pylm.errors import CheckpointError
from pylm.soups import arithmetic
from pylm.soups.arithmetic import Summed, gram_of
from pylm.soups.methods import fixed
from tests.soups.small_checkpoints import Array, array_of, tensor


def summed(arrays: list[Array], factors: list[float]) -> Array:
    parents: Any = [SimpleNamespace(name=f"runs/{n}", weights={"w": tensor(a)}) for n, a in enumerate(arrays)]
    made = Summed("w", parents, fixed(factors), lambda done: None)
    data = b"".join(bytes(part) for part in made.parts())
    return array_of(Tensor.of(made.dtype, made.shape, data))


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 7), max_size=3),
    st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=6),
    st.integers(0, 2**32),
    st.sampled_from([16, 1 << 18]),
)
def test_a_weighted_mean_is_numpys_in_float64(shape: list[int], weights: list[float], seed: int, piece: int) -> None:
    random = np.random.default_rng(seed)
    scales = 10.0 ** random.uniform(-20, 20, len(weights))
    given = [(random.standard_normal(shape) * scale).astype(np.float32) for scale in scales]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arithmetic, "PIECE", piece)
        found = summed([np.asarray(each) for each in given], [weight / sum(weights) for weight in weights])
    wanted = np.average(np.array(given, np.float64), axis=0, weights=weights).astype(np.float32)
    assert found.dtype == np.float32 and found.shape == wanted.shape
    assert (np.abs(found - wanted) <= np.spacing(np.abs(wanted))).all()


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_mean_of_equal_tensors_is_the_tensor(count: int) -> None:
    one = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    assert np.array_equal(summed([one] * count, [1 / count] * count), one)


def test_bf16_is_summed_wide_and_rounded_once_as_torch_rounds() -> None:
    torch.manual_seed(0)
    given = [torch.randn(5000).to(torch.bfloat16) for _ in range(3)]
    given[0][:2], given[1][:2], given[2][:2] = 1.0, 1.0078125, 1.0
    factors = [0.5, 0.5, 0.0]  # of the first two a number halfway between two of bf16: the even one
    for weights in (factors, [0.2, 0.3, 0.5]):
        found = summed([each.view(torch.uint16).numpy() for each in given], weights)
        wide = sum(each.double() * weight for each, weight in zip(given, weights, strict=True))
        assert isinstance(wide, torch.Tensor)
        assert torch.equal(torch.from_numpy(found.copy()).view(torch.bfloat16), wide.float().to(torch.bfloat16))


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_types_keep_their_type(dtype: str) -> None:
    random = np.random.default_rng(1)
    given = [random.standard_normal(99).astype(dtype) for _ in range(3)]
    found = summed(given, [0.25, 0.25, 0.5])
    wanted = given[0].astype(np.float64) / 4 + given[1].astype(np.float64) / 4 + given[2].astype(np.float64) / 2
    assert found.dtype == dtype and np.array_equal(found, wanted.astype(dtype))


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "an infinity"), (-np.inf, "an infinity")])
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_what_is_not_finite_is_named(value: float, word: str, dtype: str) -> None:
    given = [np.ones(7, np.float32), np.ones(7, np.float32)]
    given[1][5] = value
    if dtype == "uint16":
        given = [(each.view(np.uint32) >> 16).astype(np.uint16) for each in given]
    with pytest.raises(CheckpointError, match=f"runs/1 holds {word} in w,"):
        summed(list(given), [0.5, 0.5])


def test_a_sum_that_is_too_large_is_refused() -> None:
    largest = np.full(3, np.finfo(np.float32).max, np.float32)
    with pytest.raises(CheckpointError, match="the sum of w is larger than F32 holds"):
        summed([largest, largest], [0.7, 0.7])


def test_counts_are_taken_as_they_are() -> None:
    counts = np.arange(5)
    assert np.array_equal(summed([counts, counts], [0.5, 0.5]), counts)


def test_scalar_products_are_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "PIECE", 100)
    given = np.random.default_rng(2).standard_normal((4, 1234)).astype(np.float32)
    wide = given.astype(np.float64)
    assert np.allclose(gram_of([tensor(each) for each in given]), wide @ wide.T, rtol=1e-14, atol=1e-12)
