"""Processes that share each step: how fast, beside one alone and beside two that share nothing; and the same losses.

Each has one thread, on a core of its own. What two can reach at all is what two that never talk reach at the same time:
they share memory and caches. 12 steps of 2.2M parameters, 2,048 tokens each; 60 steps by --full.
"""

from __future__ import annotations

import hashlib
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

ROOT = Path(__file__).resolve().parent.parent
SHAPE = {"n_layers": 4, "n_heads": 3, "d_model": 192, "context_length": 256}
VOCABULARY, ROWS, PASS = 2048, 8, 2  # sequences of a step over all processes, and of a pass
SETTINGS = {"precision": "fp32", "device": "cpu", "compile": False}
ENOUGH = 1.6  # times the speed of one
ALONE, APART, TOGETHER = "one process", "two that share nothing", "pylm"
LOSSES = {"ddp, AdamW": {}, "ddp, Muon": {"optimizer": "muon"}}


def together(ranks: int, steps: int, given: dict[str, Any]) -> dict[str, Any]:
    """The steps of so many processes that share each."""
    return _measured(ranks, ranks, steps, given)


def apart(steps: int) -> dict[str, Any]:
    """Those of two processes with half of the rows each, which only begin at the same moment."""
    return _measured(2, 1, steps, {})


def _measured(processes: int, world: int, steps: int, given: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        words = [
            sys.executable,
            "-m",
            "benchmarks.test_parallel",
            str(processes),
            str(world),
            folder,
            str(steps),
            json.dumps(given),
        ]
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        running = [
            subprocess.Popen([*words, str(rank)], stdout=subprocess.PIPE, text=True, env=environ, cwd=ROOT)
            for rank in range(processes)
        ]
        found = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    assert all(process.returncode == 0 for process in running)
    return {**found[0], "seconds": max(one["seconds"] for one in found), "result": None}


def _process(processes: int, world: int, folder: str, steps: int, given: dict[str, Any], rank: int) -> dict[str, Any]:
    """What one of the processes measures, once all are there."""
    import numpy as np
    import torch

    from pylm.config.schema import Model, Train
    from pylm.config.shape import complete
    from pylm.training.backend import cut
    from pylm.training.torch_backend import make
    from pylm.training.torch_backend.parallel import Group, parallelize
    from pylm.training.world import World

    torch.set_num_threads(1)
    train = Train.model_validate({**SETTINGS, **given})
    backend = make(complete(Model.model_validate(SHAPE), VOCABULARY), train)
    store = torch.distributed.FileStore(f"{folder}/store", processes) if processes > 1 else None
    group = Group(World(rank, processes, rank, processes), 300.0, store)
    if world > 1 or train.determinism == "bitwise":
        backend = parallelize(backend, group)
    seconds, losses, seam = [], [], _timed(backend.passes)
    for step in range(steps):
        ids = np.random.default_rng(step).integers(0, VOCABULARY, (ROWS, SHAPE["context_length"] + 1))
        share = ROWS // processes
        mine = ids[rank * share : (rank + 1) * share]
        group.rows([])  # nobody begins before the others
        started = time.perf_counter()
        result = backend.step(cut(mine[:, :-1].copy(), mine[:, 1:].copy(), None, None, PASS), 1e-3)
        seconds.append(time.perf_counter() - started)
        losses.append(result.loss)
    weights = hashlib.sha256(b"".join(bytes(one.data) for _, one in sorted(backend.weights().items()))).hexdigest()
    group.close()
    percent = 100 * sum(seam) / sum(seconds)
    return {"seconds": float(np.median(seconds[2:])), "losses": losses, "weights": weights, "seam_percent": percent}


def _timed(passes: Any) -> list[float]:
    """Seconds that what several processes share takes in each call, from now on."""
    taken: list[float] = []

    def timed(work: Any) -> Any:
        def call(*arguments: Any) -> Any:
            started = time.perf_counter()
            found = work(*arguments)
            taken.append(time.perf_counter() - started)
            return found

        return call

    for name in ("shares", "mean", "margins"):
        setattr(passes, name, timed(getattr(passes, name)))
    return taken


def test_two_processes_are_nearly_twice_as_fast(compare: Compare, pytestconfig: pytest.Config) -> None:
    if (os.cpu_count() or 1) < 2:
        compare.unmeasured("2 ranks, a thread each", "one core", "≥ 0.9×")
    steps = 60 if pytestconfig.getoption("--full") else 12
    ours, one = Side("pylm", together), Side("pylm", together, label=ALONE)
    two = Side("pylm", apart, label=APART)
    samples: dict[str, list[dict[str, Any]]] = {TOGETHER: [], ALONE: [], APART: []}

    def race() -> None:
        for _ in range(3):
            samples[TOGETHER].append(compare.once(ours, ranks=2, steps=steps, given={}))
            samples[ALONE].append(compare.once(one, ranks=1, steps=steps, given={}))
            samples[APART].append(compare.once(two, steps=steps))

    compare.benchmark.pedantic(race, rounds=1, iterations=1)
    versions = {name: ours.version() or "" for name in samples}
    run = Run(
        "a step on 2 ranks, a thread each", samples, {}, versions, lambda row: compare.report.add("parallel", row)
    )
    twice = run.median(ALONE) >= ENOUGH * run.median(TOGETHER)
    run.faster(ENOUGH, ALONE)  # or, where two cores share what they compute with, nearly as fast as two can be at all
    run.faster(None if twice else 0.9, APART)
    plain = Run("one process", {ALONE: samples[ALONE]}, {}, versions, lambda row: compare.report.add("parallel", row))
    plain.at_most(1.0, figure="seam_percent", unit="%")


@pytest.mark.parametrize("name", [*LOSSES, "bitwise, Muon"])
def test_the_losses_do_not_depend_on_how_many_there_are(compare: Compare, name: str) -> None:
    bitwise = name not in LOSSES
    given = {"optimizer": "muon", "determinism": "bitwise"} if bitwise else LOSSES[name]
    side = Side("pylm", together)
    found: dict[int, dict[str, Any]] = {}

    def steps() -> None:
        for ranks in (1, 2, 4):
            found[ranks] = compare.once(side, ranks=ranks, steps=8, given=given)

    compare.benchmark.pedantic(steps, rounds=1, iterations=1)
    away = max(abs(a - b) for ranks in (2, 4) for a, b in zip(found[ranks]["losses"], found[1]["losses"], strict=True))
    sample = {"away": away, "result": None}
    run = Run(f"losses of 1, 2, 4 ranks: {name}", {"pylm": [sample]}, {}, {"pylm": side.version() or ""},
              lambda row: compare.report.add("parallel", row))  # fmt: skip
    if bitwise:
        assert len({one["weights"] for one in found.values()}) == 1
    run.at_most(0.0 if bitwise else 1e-6, figure="away", unit="nats")


if __name__ == "__main__":
    count, shared, place, number, keys, own = sys.argv[1:]
    print(json.dumps(_process(int(count), int(shared), place, int(number), json.loads(keys), int(own))))
