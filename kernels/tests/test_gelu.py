from __future__ import annotations

import functools

import activations
import proof
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from proof import dtypes, random

from pylm_kernels import gelu

approximations = pytest.mark.parametrize("approximate", ["none", "tanh"])


def raw(x: torch.Tensor, tanh: bool) -> torch.Tensor:
    return F.gelu(x, approximate="tanh" if tanh else "none")


@dtypes
@approximations
def test_values_and_gradients_are_torchs_own(approximate: str, dtype: torch.dtype) -> None:
    ours, theirs = (functools.partial(function, approximate=approximate) for function in (gelu, F.gelu))
    activations.agrees_with_torch(ours, theirs, 1, dtype)


@approximations
def test_a_registered_backend_passes_every_check(approximate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = functools.partial(gelu, approximate=approximate)
    activations.a_backend_passes_every_check(monkeypatch, "gelu", ours, raw, 1, (approximate == "tanh",))


def test_bad_input() -> None:
    proof.refuses(gelu, {"x": random(2, 8).int()}, "x: dtype")
    proof.refuses(gelu, {"x": random(2, 8), "approximate": "quick"}, "approximate: 'quick'")
