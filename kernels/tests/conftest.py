"""Without a GPU the kernels run in Triton's interpreter; the variable counts only before triton is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path

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
