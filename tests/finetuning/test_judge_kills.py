"""Kills in each phase of a tuning: reading, before the first step, stepping, saving, judging. The end is the same."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pylm.runs import read_lines
from tests.support.killed_tuning import PHASES, plan

ROOT = Path(__file__).resolve().parents[2]
VOLATILE = {"seconds", "tokens_per_second", "phase", "mfu", "memory", "time"}
CALL: dict[str, Any] = {
    "checkpoint": "runs/base", "dataset": "chat.jsonl", "max_steps": 12, "save_every": 3, "eval_every": 4,
    "sample_every": 5, "log_every": 1, "batch_tokens": 256, "micro_batch": 2, "val_share": 0.2,
    "device": "cpu", "compile": False, "precision": "fp32",
}  # fmt: skip


def tune(kills: list[Any], **call: Any) -> list[int]:
    """Tune in another process, which kills end; how each attempt ended."""
    asked = json.dumps({"call": {**CALL, **call}, "kills": kills})
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_tuning", asked],
        env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    codes: list[int] = json.loads(done.stdout.splitlines()[-1])
    return codes


def left(folder: str) -> dict[str, Any]:
    """All that a run leaves, without what time decides."""
    run = Path(folder)
    found: dict[str, Any] = {}
    for name in ("metrics", "samples", "evaluations"):
        lines = read_lines(run / f"{name}.jsonl")
        found[name] = [{key: value for key, value in line.items() if key not in VOLATILE} for line in lines]
    for file in sorted(run.glob("checkpoints/*/*.safetensors")):
        found[str(file.relative_to(run))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


@pytest.mark.timeout(1800)
def test_a_tuning_that_is_killed_in_each_phase_ends_as_the_uninterrupted_one(
    here: Path, request: pytest.FixtureRequest
) -> None:
    count = 50 if request.config.getoption("--full") else 4
    shutil.rmtree("data", ignore_errors=True)
    assert tune([], out="runs/never-killed") == [0]
    whole = left("runs/never-killed")
    assert "answers" in {line["task"] for line in whole["evaluations"]} and whole["samples"]
    kept = {path.name: path.read_bytes() for path in next(Path("data").glob("chat-*")).iterdir()}
    shutil.rmtree("data")
    # four are enough of the five phases: what comes first is killed by all that reads anew
    kills = plan(count, seed=7) if count > len(PHASES) else plan(len(PHASES), seed=7)[-count:]
    codes = tune(kills, out="runs/killed-often", resume="auto")
    assert codes[-1] == 0 and codes.count(-signal.SIGKILL) >= count - 1 and set(codes) <= {0, -signal.SIGKILL}
    assert left("runs/killed-often") == whole
    assert {path.name: path.read_bytes() for path in next(Path("data").glob("chat-*")).iterdir()} == kept
