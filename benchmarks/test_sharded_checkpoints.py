"""Checkpoints of two ranks that hold rows: what a save keeps the loop from, and kills within it.

21M parameters, 250 MB with AdamW's moments. The loop goes on once it has handed over copies; what writing takes
meanwhile is not in that time. With --full one of two ranks is killed 20 times within a save, at any moment of it.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.compare import Compare
from benchmarks.report import Row
from tests.support.ranks import in_ranks, in_world
from tests.support.shards import write_shards
from tests.training.parallel.test_fsdp_run import FSDP, PLAIN, trained

SHAPE = {"n_layers": 6, "n_heads": 8, "d_model": 512, "context_length": 64}
VOCABULARY, SAVES, KILLS = 4096, 3, 20
MOMENTS = 0.25  # seconds that a save of the small run takes, and some more


def held_up(group: Any, run: Path, device: str = "cpu") -> list[tuple[float, float]]:
    """Return seconds that the loop waits for each save, and that the save takes until it is durable."""
    from pylm.checkpoint import ShardedSaver
    from pylm.config.schema import Model, Train
    from pylm.config.shape import complete
    from pylm.training.torch_backend import make
    from pylm.training.torch_backend.fsdp import gather_of
    from pylm.training.torch_backend.parallel import parallelize

    train = Train.model_validate({"precision": "fp32", "device": device, "compile": False})
    backend = parallelize(make(complete(Model.model_validate(SHAPE), VOCABULARY), train), group, "fsdp")
    run.mkdir(exist_ok=True)
    saver = ShardedSaver(run, 1, "", {}, rank=group.world.rank, gather=gather_of(group))
    found = []
    for step in range(1, SAVES + 1):
        group.rows([])
        started = time.perf_counter()
        saver.save(backend.weights(), backend.optimizer_state(), {"step": step}, False)
        held = time.perf_counter() - started
        saver.wait()
        found.append((held, time.perf_counter() - started))
    return found


def test_a_save_hardly_holds_the_loop_up(compare: Compare, tmp_path: Path) -> None:
    found: list[tuple[float, float]] = []

    def saves() -> None:
        found.extend(max(both) for both in zip(*in_ranks(2, held_up, tmp_path / "run"), strict=True))

    compare.benchmark.pedantic(saves, rounds=1, iterations=1)
    shares = [held / whole for held, whole in found]
    share, least, most = statistics.median(shares), min(shares), max(shares)
    held, whole = (statistics.median(column) for column in zip(*found, strict=True))
    verdict = "met" if share <= 0.05 else "short"
    name = "a save of 2 ranks: what the loop waits, beside a synchronous one"
    compare.report.add("parallel", Row(name, held, whole, None, share, (least, most), "≤ 0.05×", verdict))


def killed(seed: int, given: dict[str, Any]) -> Any:
    """Train on, until one of the ranks is killed within its first save."""
    from pylm.checkpoint import sharded_saver

    chance = random.Random(seed)
    victim, after = chance.randrange(2), chance.random() * MOMENTS
    writes = sharded_saver.ShardedSaver._make

    def make(*args: Any) -> None:
        if int(os.environ["RANK"]) == victim:
            threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL)).start()
        writes(*args)

    sharded_saver.ShardedSaver._make = make
    return trained("killed", given, False, "auto")


def test_kills_within_a_save_lose_nothing(
    compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    if not pytestconfig.getoption("--full"):
        compare.unmeasured(f"{KILLS} kills of a rank within a save: lost", "--full takes minutes", "0")
    from pylm.checkpoint import newest_sound, steps, verify

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    write_shards(tmp_path / "ids", 60, np.random.default_rng(2), count=4000)
    given, lost = {**FSDP, **PLAIN, "save_every": 1, "keep_last": 2, "max_steps": 3 * KILLS}, 0

    def kills() -> None:
        nonlocal lost
        in_world(2, trained, "never killed", given)
        for seed in range(KILLS):
            before = steps(Path("killed"))
            try:
                in_world(2, killed, seed, given)
            except AssertionError:  # one of them is dead
                after = newest_sound(Path("killed"))
                lost += bool(before) and (after is None or int(after.name[5:]) < before[-1])
        in_world(2, trained, "killed", given, False, "auto")

    compare.benchmark.pedantic(kills, rounds=1, iterations=1)
    last = [verify(Path(run, "checkpoints", f"step_{3 * KILLS}")) for run in ("never killed", "killed")]
    assert last[0].identity == last[1].identity
    assert last[0].hash_of("optimizer.safetensors") == last[1].hash_of("optimizer.safetensors")
    verdict = "short" if lost else "met"
    name = f"{KILLS} kills of a rank within a save: lost"
    compare.report.add("parallel", Row(name, lost, None, None, None, None, "0", verdict, "checkpoints"))
