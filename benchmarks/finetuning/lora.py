"""A step that trains adapters beside one that trains all weights: time and memory, each in a process of its own.

python -m benchmarks.finetuning.lora full|lora      one side, as JSON: what the comparison starts twice
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROWS, CONTEXT, VOCABULARY = 4, 256, 16_384
WARM_UP, STEPS = 2, 5


def measured(method: str) -> dict[str, Any]:
    """Return seconds a step (the least), and the most memory that steps held: what came before them is forgotten."""
    import numpy as np

    from pylm.config.cascade import resolve
    from pylm.config.schema import Finetune
    from pylm.config.shape import complete
    from pylm.training.backend import MicroBatch
    from pylm.training.torch_backend import make
    from pylm.training.trained import EVERYTHING, trained_by

    config = resolve(preset="llama-110m", environ={}).config
    shape = complete(config.model.model_copy(update={"context_length": CONTEXT}), VOCABULARY)
    train = config.train.model_copy(update={"micro_batch": ROWS, "compile": False})
    trained = trained_by(shape, Finetune(method="lora"), None) if method == "lora" else EVERYTHING
    backend = make(shape, train, trained=trained)
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (ROWS, CONTEXT + 1))
    batch = MicroBatch(ids[:, :-1].copy(), ids[:, 1:].copy())
    seconds = []
    for number in range(WARM_UP + STEPS):
        if number == WARM_UP:
            Path("/proc/self/clear_refs").write_text("5")
        started = time.perf_counter()
        backend.step([batch], 1e-4)
        seconds.append(time.perf_counter() - started)
    phases = {name: round(total / len(seconds), 3) for name, total in backend.timings().items()}
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert peak is not None
    return {
        "seconds": min(seconds[WARM_UP:]),
        "bytes": int(peak[1]) * 1024,
        "phases": phases,
        "precision": backend.precision,
    }


def compared() -> dict[str, dict[str, Any]]:
    """Return what each side took."""
    return {
        method: json.loads(subprocess.check_output([sys.executable, "-m", "benchmarks.finetuning.lora", method]))
        for method in ("full", "lora")
    }


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1])))
