"""Every operation in a gloo group of two: gradients averaged over both are those of one process with all the data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pylm_kernels.dispatch import OPERATIONS, WITHOUT_GRADIENT

pytest.importorskip("triton")
TRAINED = [operation for operation in OPERATIONS if operation not in WITHOUT_GRADIENT]


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    if torch.cuda.is_available():
        pytest.skip("the pair runs on CPU tensors, in the interpreter")
    here = Path(__file__).parent
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(here.parent)}
    store = str(tmp_path_factory.mktemp("gloo") / "store")
    pair = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", str(here / "pair.py"), str(rank), store, *TRAINED],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=250) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said[0][1][-2000:] + said[1][1][-2000:]
    found: dict[str, float] = json.loads(said[0][0])
    return found


@pytest.mark.parametrize("operation", TRAINED)
def test_gradients_are_averaged(errors: dict[str, float], operation: str) -> None:
    assert errors[operation] < 1e-5
