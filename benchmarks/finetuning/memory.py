"""The memory that a tuning is refused by before it starts, against the most that its process then held (VmHWM)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare
from benchmarks.finetuning.material import documents, examples
from benchmarks.report import Row

METHODS = ("full", "lora", "dpo", "dpo-lora")
SHAPES: dict[str, dict[str, Any]] = {
    "L 4 d 256 T 256 V 512": {"n_layers": 4, "n_heads": 4, "d_model": 256, "context_length": 256},
    "L 8 d 512 T 256 V 512": {"n_layers": 8, "n_heads": 8, "d_model": 512, "context_length": 256},
}
COMPUTING: dict[str, Any] = {"device": "cpu", "compile": False, "precision": "fp32", "micro_batch": 4}
CHILD = """
import json, sys
import pylm
from pylm.training.estimate import preflight
from pylm.training.estimate.plan import margin
plain, planned = preflight.judge, []
def judge(subject, machine, need, room, **how):
    planned.append(need.memory)
    return plain(subject, machine, need, room, **how)
preflight.judge = judge
command, words = json.loads(sys.argv[1])
getattr(pylm, command)(**words, on_event=lambda event: None)
held = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("held", json.dumps([planned[-1], margin(planned[-1]), int(held.split()[1]) * 1024]))
"""


def held_by(folder: Path, command: str, **words: Any) -> tuple[int, int, int]:
    """Return what was planned, by how much that may be off, and what was held: bytes of a process of its own."""
    environ = os.environ | {"PYLM_CACHE": str(folder / "cache")}
    told = json.dumps([command, {**COMPUTING, **words}])
    child = [sys.executable, "-c", CHILD, told]
    done = subprocess.run(child, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    memory, off, held = json.loads(done.stdout.rpartition("held ")[2])
    return memory, off, held


@pytest.mark.parametrize("shape", list(SHAPES))
def test_memory_of_a_tuning(shape: str, compare: Compare, tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in documents(500, 0)))
    rows = [{"prompt": one.prompt, "completion": one.completion} for one in examples(400, 0)]
    pairs = [{"prompt": one["prompt"], "chosen": one["completion"], "rejected": " no"} for one in rows]
    for name, lines in (("asked", rows), ("pairs", pairs)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    held_by(
        tmp_path,
        "train",
        text="text.jsonl",
        out="runs/base",
        max_steps=2,
        batch_tokens=1024,
        vocab_size=512,
        **SHAPES[shape],
    )

    def race() -> dict[str, tuple[int, int, int]]:
        return {
            method: held_by(
                tmp_path, "finetune", checkpoint="runs/base", out=f"runs/{method}", method=method, max_steps=3,
                dataset="pairs.jsonl" if "dpo" in method else "asked.jsonl", batch_tokens=1024, sample_every=None,
            )
            for method in METHODS
        }  # fmt: skip

    for method, (memory, off, held) in compare.benchmark.pedantic(race, rounds=1, iterations=1).items():
        lives = held <= memory + off
        verdict = "met" if abs(memory / held - 1) <= 0.1 and lives else "short" if lives else "dies"
        name = f"memory of a tuning, planned and held, {method}, {shape}, 4×1 fp32"
        row = Row(name, memory / 1e6, held / 1e6, None, memory / held, None, "0.90–1.10×", verdict, "MB")
        compare.report.add(compare.subject, row)
