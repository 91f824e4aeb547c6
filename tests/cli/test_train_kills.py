"""Kills at random moments, wherever the process is: starting, in a step, writing a checkpoint, cutting lines back.

Two kills; with --full twenty.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.cli import run
from pylm.runs import read_lines
from tests.support.shards import write_shards

STEPS = 60
SHAPE = ["--n-layers", "1", "--n-heads", "2", "--d-model", "32", "--context-length", "16", "--dropout", "0.1"]
OFTEN = ["--save-every", "3", "--eval-every", "10", "--log-every", "1", "--batch-tokens", "256"]
LINE = ["train", "--data", "ids", *SHAPE, *OFTEN, "--learning-rate", "1e-2", "--max-steps", str(STEPS)]
# each step takes a while, so that there is something to be killed in
SLOW = """
import sys, time
from pylm.cli import run
from pylm.training import record
plain = record.watch
def watch(*given):
    time.sleep(0.03)
    plain(*given)
    print("step", flush=True)
record.watch = watch
sys.exit(run(sys.argv[1:]))
"""
VOLATILE = {"seconds", "tokens_per_second", "phase", "mfu", "memory"}


def left(folder: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Every line of metrics without what time decides, and the hashes of weights and optimizer."""
    records = read_lines(Path(folder, "metrics.jsonl"))
    lines = [{key: value for key, value in record.items() if key not in VOLATILE} for record in records]
    last = Path(folder, f"checkpoints/step_{STEPS}")
    files = ("model.safetensors", "optimizer.safetensors")
    return lines, [hashlib.sha256((last / name).read_bytes()).hexdigest() for name in files]


@pytest.mark.timeout(1800)
def test_resumed_after_kills_at_random_moments_it_is_the_uninterrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    kills = 20 if request.config.getoption("--full") else 2
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    write_shards(tmp_path / "ids", 300, np.random.default_rng(2), count=20_000)
    assert run([*LINE, "--out", "whole"]) == 0
    chance = random.Random(11)
    command = [sys.executable, "-c", SLOW, *LINE, "--out", "killed", "--resume", "auto"]
    codes = []
    for number in range(kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            # most kills wait for a few steps, so that the run gets on; some hit the start
            for _ in range(chance.randrange(0, 2 * STEPS // kills)):
                process.stdout.readline()
            try:
                process.wait(chance.uniform(0, 0.1))
            except subprocess.TimeoutExpired:
                os.kill(process.pid, (signal.SIGKILL, signal.SIGTERM)[number % 2])
            process.stdout.read()
        codes.append(process.returncode)
    assert -signal.SIGKILL in codes and set(codes) <= {-signal.SIGKILL, -signal.SIGTERM, 75, 0}
    assert run([*LINE, "--out", "killed", "--resume", "auto"]) == 0
    assert left("killed") == left("whole")
