from __future__ import annotations

import activations
import proof
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from proof import dtypes, random

from pylm_kernels import relu2


def exact(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x).square()


@dtypes
def test_values_and_gradients_are_torchs_own(dtype: torch.dtype) -> None:
    activations.agrees_with_torch(relu2, exact, 1, dtype)


def test_a_registered_backend_passes_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    activations.a_backend_passes_every_check(monkeypatch, "relu2", relu2, exact, 1)


def test_bad_input() -> None:
    proof.refuses(relu2, {"x": random(2, 8).bool()}, "x: dtype")
    proof.refuses(relu2, {"x": random(2, 8), "backend": "metal"}, "backend: no 'metal' backend")
