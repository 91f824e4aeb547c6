"""Kills in each phase of a tuning: reading, before the first step, stepping, saving, judging. The end is the same."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.killed_tuning import STEPS_OF_KILL, left, plan, tuned

CALL: dict[str, Any] = {
    "checkpoint": "runs/base", "dataset": "chat.jsonl", "save_every": 3, "eval_every": 4,
    "sample_every": 5, "log_every": 1, "batch_tokens": 256, "micro_batch": 2, "val_share": 0.2,
    "device": "cpu", "compile": False, "precision": "fp32",
}  # fmt: skip


def folder_of_examples() -> dict[str, bytes]:
    (folder,) = Path("data").glob("chat-*")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.timeout(1800)
def test_a_tuning_that_is_killed_in_each_phase_ends_as_the_uninterrupted_one(
    here: Path, request: pytest.FixtureRequest
) -> None:
    count = 50 if request.config.getoption("--full") else 4
    shutil.rmtree("data", ignore_errors=True)
    call = {**CALL, "max_steps": max(STEPS_OF_KILL * count, 12)}
    assert tuned({**call, "out": "runs/never-killed"}, []) == [0]
    whole, examples = left("runs/never-killed"), folder_of_examples()
    assert "answers" in {line["task"] for line in whole["evaluations"]} and whole["samples"]
    shutil.rmtree("data")
    codes = tuned({**call, "out": "runs/killed-often", "resume": "auto"}, plan(count, seed=7))
    assert codes == [-signal.SIGKILL] * count + [0]
    assert left("runs/killed-often") == whole
    assert folder_of_examples() == examples
