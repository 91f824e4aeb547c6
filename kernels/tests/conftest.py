"""Without a GPU the kernels run in Triton's interpreter; the variable counts only before triton is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random data from a fixed seed, and nothing forced from outside."""
    monkeypatch.delenv("PYLM_KERNELS", raising=False)
    torch.manual_seed(1)


@pytest.fixture(params=["shim", "gpu"])
def metal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """pylm_kernels.mlx runs its Metal kernels: on this processor (the shim), and on the GPU (None) if there is one."""
    if request.param == "shim":
        return request.getfixturevalue("shim")
    if not pytest.importorskip("mlx.core").metal.is_available():
        pytest.skip("the same checks on the chip itself need an Apple GPU")
    return None


@pytest.fixture
def shim(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Metal kernels run on this processor: for those that are broken on purpose, and for the rules of Metal."""
    pytest.importorskip("mlx.core")
    from metal.proof import in_shim

    return in_shim(monkeypatch)
