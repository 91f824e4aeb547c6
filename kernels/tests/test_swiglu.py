from __future__ import annotations

from typing import Any

import activations
import proof
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from proof import dtypes, random

from pylm_kernels import swiglu


def exact(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return F.silu(gate) * up


@dtypes
def test_values_and_gradients_are_torchs_own(dtype: torch.dtype) -> None:
    activations.agrees_with_torch(swiglu, exact, 2, dtype)


def test_a_registered_backend_passes_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    activations.a_backend_passes_every_check(monkeypatch, "swiglu", swiglu, exact, 2)


BAD: dict[str, dict[str, Any]] = {
    "up: shape": {"up": random(2, 9)},
    "up: dtype": {"up": random(2, 8).half()},
    "gate: dtype": {"gate": random(2, 8).int()},
    "backend: no 'metal' backend": {"backend": "metal"},
}


@pytest.mark.parametrize("complaint", BAD)
def test_bad_input(complaint: str) -> None:
    proof.refuses(swiglu, {"gate": random(2, 8), "up": random(2, 8), **BAD[complaint]}, complaint)
