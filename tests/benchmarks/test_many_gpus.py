"""The comparisons on several GPUs: skipped with a sentence where there are none, and rehearsed by two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.test_many_gpus import saves, tokens_a_second, why_not
from tests.support.launched import KEYS, SHAPE
from tests.support.shards import write_shards

ROOT = Path(__file__).resolve().parent.parent.parent


def test_fewer_than_two_gpus_are_too_few() -> None:
    assert why_not(0) == "two GPUs train together or more, and this machine has 0"
    assert why_not(1).endswith("has 1") and why_not(2) == "" and why_not(8) == ""


@pytest.mark.slow
def test_the_script_runs_and_skips_where_there_is_no_gpu() -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environ = {**own, "CUDA_VISIBLE_DEVICES": "", "PYTHON": sys.executable}
    words = ["sh", "benchmarks/gpu.sh", "-rs"]
    done = subprocess.run(words, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "there is no GPU here that PyTorch sees" in done.stdout and "passed" not in done.stdout
    assert done.stdout.count(" skipped") == 2  # the kernels, and training on several


@pytest.mark.slow
def test_what_is_measured_on_gpus_is_measured_on_two_processes(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "data", 64, np.random.default_rng(3), 20_000)
    for count in (1, 2):
        rows, context = KEYS["micro_batch"], SHAPE["context_length"]
        assert tokens_a_second(tmp_path / str(count), shards, count, [], rows, context) > 0
    found = saves(2, tmp_path, "cpu")
    assert len(found) == 3 and all(0 < held < whole for held, whole in found)
