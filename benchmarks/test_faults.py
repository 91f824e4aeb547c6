"""Kills of a process of a run of two, some of them while it saves: none loses anything, and the end is the same.

Five kills, two of them within a save; fifty and twenty by --full, and twenty and ten where all processes save.
Beside it, what a plan for 1,024 devices takes.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.compare import Compare, Run
from tests.support.launched import Launched, launched, result
from tests.support.shards import write_shards

PLAN = ["--preset", "llama-1b", "--vocab-size", "50304", "--max-tokens", "100B", "--batch-tokens", "4194304",
        "--gpus", "1024", "--parallel", "fsdp", "--no-probe"]  # fmt: skip

PATIENCE = 1800.0  # seconds for hundreds of steps on a busy machine


def rows(compare: Compare, name: str, **figures: float) -> Run:
    return Run(name, {"pylm": [{**figures, "result": None}]}, {}, {"pylm": ""},
               lambda row: compare.report.add("parallel", row))  # fmt: skip


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_kills_lose_nothing(compare: Compare, tmp_path: Path, pytestconfig: pytest.Config, parallel: str) -> None:
    kills, saving = {"ddp": (50, 20), "fsdp": (20, 10)}[parallel] if pytestconfig.getoption("--full") else (5, 2)
    steps = 12 * kills
    shards = write_shards(tmp_path / "data", 64, np.random.default_rng(3), 20_000)
    more = ("--max-steps", str(steps), "--keep-last", "2")
    savers = 1  # ranks that write
    if parallel == "fsdp":  # whose sums are not those of one process to the bit
        more, savers = (*more, "--parallel", "fsdp", "--determinism", "default"), 2
    with launched(tmp_path / "run", shards, *more, gpus=savers) as one:
        assert one.end(PATIENCE) == 0, one.said
    chance, seconds = random.Random(7), []
    within = chance.sample(range(kills), saving)

    def kill_again_and_again() -> None:
        with launched(tmp_path / "killed", shards, *more, "--max-restarts", str(kills)) as one:
            one.until(lambda: any(one.out.glob("checkpoints/step_*")))  # one that is killed earlier resumes nothing
            for kill in range(kills):
                seconds.append(killed(one, chance, savers if kill in within else 0))
            assert one.end(PATIENCE) == 0, one.said

    compare.benchmark.pedantic(kill_again_and_again, rounds=1, iterations=1)
    lost = float(result(tmp_path / "killed", steps) != result(tmp_path / "run", steps))
    rows(compare, f"{parallel}, {kills} kills, {saving} within a save: runs whose end differs", lost=lost).at_most(
        0.0, figure="lost", unit="of 1"
    )
    rows(compare, f"{parallel}, from a kill to the first step, longest of {kills}", seconds=max(seconds)).at_most(
        10.0, figure="seconds", unit="s"
    )


def killed(one: Launched, chance: random.Random, savers: int) -> float:
    """Kill a rank some steps on, or one of the first `savers` as it saves; return the seconds until all step again."""
    since = one.step()
    one.until(lambda: one.step() >= since + 2)
    rank = one.there(chance.randrange(savers or 2))
    if savers:
        stop_within_save(one.out / "checkpoints", rank, chance)
    else:
        time.sleep(chance.random() * 0.1)
    begun, resumes = time.monotonic(), one.out / "resumes.jsonl"
    before = resumes.stat().st_size if resumes.exists() else 0
    os.kill(rank, signal.SIGKILL)
    one.until(lambda: resumes.exists() and resumes.stat().st_size > before)
    size = (one.out / "metrics.jsonl").stat().st_size
    one.until(lambda: (one.out / "metrics.jsonl").stat().st_size > size)
    return time.monotonic() - begun


def stop_within_save(folder: Path, rank: int, chance: random.Random) -> None:
    """Stop a process while a checkpoint of its is begun and has no name yet: a save takes milliseconds."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(folder.glob(".partial*")):
            time.sleep(chance.random() * 0.004)
            os.kill(rank, signal.SIGSTOP)
            time.sleep(0.001)  # a call to the system that it is in comes to its end
            if any(folder.glob(".partial*")):
                return
            os.kill(rank, signal.SIGCONT)
    raise AssertionError("no save was met with")


def test_a_plan_for_a_thousand_devices(compare: Compare) -> None:
    def plan() -> None:
        subprocess.run([sys.executable, "-m", "pylm", "plan", *PLAN], check=False, capture_output=True)

    started = time.monotonic()
    compare.benchmark.pedantic(plan, rounds=1, iterations=1)
    seconds = time.monotonic() - started
    held = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    rows(compare, "a plan for 1,024 devices", seconds=seconds).at_most(30.0, figure="seconds", unit="s")
    rows(compare, "its memory", held=held).at_most(2.0, figure="held", unit="GB")
