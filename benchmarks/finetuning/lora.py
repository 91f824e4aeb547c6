"""A step that trains adapters beside one that trains all weights, 110M parameters: time and memory of steps alone."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from benchmarks.compare import Compare, Side

ROWS, WINDOW, ENTRIES = 4, 256, 16_384
WARM_UP, STEPS = 2, 4
TIME, MEMORY = 0.75, 0.5


def step_of(method: str) -> dict[str, Any]:
    """The least seconds of a step, and the most memory that steps held: what came before them is forgotten."""
    import numpy as np

    from pylm.config.cascade import resolve
    from pylm.config.schema import Finetune
    from pylm.config.shape import complete
    from pylm.training.backend import MicroBatch
    from pylm.training.torch_backend import make
    from pylm.training.trained import EVERYTHING, trained_by

    config = resolve(preset="llama-110m", environ={}).config
    shape = complete(config.model.model_copy(update={"context_length": WINDOW}), ENTRIES)
    train = config.train.model_copy(update={"micro_batch": ROWS, "compile": False, "device": "cpu"})
    trained = trained_by(shape, Finetune(method="lora"), None) if method == "lora" else EVERYTHING
    backend = make(shape, train, trained=trained)
    ids = np.random.default_rng(0).integers(0, ENTRIES, (ROWS, WINDOW + 1))
    batch = MicroBatch(ids[:, :-1].copy(), ids[:, 1:].copy())
    for _ in range(WARM_UP):
        backend.step([batch], 1e-4)
    Path("/proc/self/clear_refs").write_text("5")
    seconds = []
    for _ in range(STEPS):
        started = time.perf_counter()
        backend.step([batch], 1e-4)
        seconds.append(time.perf_counter() - started)
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert peak is not None
    return {"seconds": min(seconds), "peak_mb": int(peak[1]) / 1024, "precision": backend.precision}


def adapters() -> dict[str, Any]:
    return step_of("lora")


def all_weights() -> dict[str, Any]:
    return step_of("full")


def test_a_step_of_adapters(compare: Compare) -> None:
    ours, full = Side("pylm", adapters, "adapters"), Side("pylm", all_weights, "all weights")
    run = compare(f"a step of adapters, 110M, {ROWS} × {WINDOW}, V {ENTRIES:,}", ours, [full], rounds=3)
    run.leaner(TIME, "all weights", "seconds", "s")
    run.leaner(MEMORY, "all weights")
