"""A run under a clock while another process takes half of the machine from a third of it on: does it land?

Ours ends by its time, whatever happens meanwhile; beside it runs what was told beforehand how many steps there would be
time for, on the same disturbed machine, with the rate laid over exactly those. By default 40 s and one seed; 300 s and
three seeds by --full.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Run, Side

DISTURBED_FROM = 1 / 3  # of the time
LIMIT = 1200  # seconds of a side
PLANNED = "planned with that speed"
NEVER = [word for key in ("eval", "save", "sample") for word in (f"--{key}-every", "null")]
WORDS = ["--preset", "tiny", "--batch-tokens", "2048", "--warmup-steps", "null", "--log-every", "1", *NEVER]
BURNING = "while True: pass"


def trained(data: str, disturbed: float, seed: int, *length: str) -> dict[str, Any]:
    """What a run came to, of which others took half of the machine from so many seconds after its first step on."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pylm", "train", "--data", data, *WORDS, "--seed", str(seed), *length]
        run = subprocess.Popen([*command, "--out", f"{folder}/run"], stdout=subprocess.DEVNULL)
        burning: list[subprocess.Popen[bytes]] = []
        metrics = Path(folder) / "run/metrics.jsonl"
        try:
            begun = None
            while run.poll() is None:
                time.sleep(0.05)
                begun = begun or (time.monotonic() if metrics.exists() else None)
                if begun is not None and not burning and time.monotonic() - begun >= disturbed:
                    words = [sys.executable, "-c", BURNING]
                    # as many as there are cores: each then has half of one
                    burning = [subprocess.Popen(words) for _ in os.sched_getaffinity(0)]
            assert run.returncode == 0
        finally:
            for process in burning:
                process.kill()
                process.wait()
        lines = [json.loads(line) for line in metrics.read_text().splitlines()]
        (state,) = Path(folder).glob("run/checkpoints/step_*/state.json")
        seconds = json.loads(state.read_text())["progress"]["seconds"]
        return {"steps": lines[-1]["step"], "lr": [line["lr"] for line in lines if "lr" in line][-1],
                "loss": lines[-1]["val_loss"], "seconds": seconds, "result": None}  # fmt: skip


def by_clock(data: str, seconds: float, seed: int) -> dict[str, Any]:
    found = trained(data, seconds * DISTURBED_FROM, seed, "--max-time", f"{seconds}s")
    missed = 100 * abs(found["seconds"] / seconds - 1)
    return {**found, "missed_percent": missed, "rate_percent": 100 * abs(found["lr"] / lowest_rate() - 1)}


def by_steps(data: str, seconds: float, seed: int, steps: int) -> dict[str, Any]:
    return trained(data, seconds * DISTURBED_FROM, seed, "--max-steps", str(steps))


def lowest_rate() -> float:
    """The rate that the preset's schedule ends with."""
    from pylm.config.cascade import resolve

    train = resolve("train", preset="tiny", environ={}).config.train
    return train.learning_rate * train.min_lr_ratio


def test_a_run_lands_on_a_machine_that_slows(
    compare: Compare, text: Any, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    full, data = pytestconfig.getoption("--full"), str(tmp_path / "data")
    words = ["tokenize", str(text.prose), "--vocab-size", "4096", "--out", data]
    subprocess.run([sys.executable, "-m", "pylm", *words], check=True)
    seconds, ours, planned = 300.0 if full else 40.0, Side("pylm", by_clock), Side("pylm", by_steps, label=PLANNED)
    samples: dict[str, list[dict[str, Any]]] = {ours.name: [], PLANNED: []}

    def race() -> None:
        for seed in range(1, 1 + (pytestconfig.getoption("--seeds") if full else 1)):
            given: dict[str, Any] = {"data": data, "seconds": seconds, "seed": seed}
            samples[ours.name].append(compare.once(ours, **given))
            # of as many steps as there was time for: what a plan that knew the machine would have said
            steps = samples[ours.name][-1]["steps"]
            samples[PLANNED].append(compare.once(planned, timeout=LIMIT, steps=steps, **given))

    compare.benchmark.pedantic(race, rounds=1, iterations=1)
    versions = {side.name: side.version() or "" for side in (ours, planned)}
    name = f"{seconds:.0f} s, half the machine from {seconds * DISTURBED_FROM:.0f} s on"
    run = Run(name, samples, {}, versions, lambda row: compare.report.add("clock", row))
    run.leaner(1.02, PLANNED, figure="loss", unit="nats")
    run.at_most(2.0, figure="missed_percent", unit="%")
    run.at_most(0.1, figure="rate_percent", unit="%")
