"""A small tuning that is killed fifty times, in each of its phases, beside the one that nobody kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

from benchmarks.compare import Compare, Side
from benchmarks.finetuning.instructions import BOTH
from benchmarks.finetuning.material import documents, examples
from benchmarks.report import Row

KILLS = 50
SHAPE: dict[str, Any] = {"n_layers": 2, "n_heads": 2, "d_model": 16, "context_length": 64, "vocab_size": 300}
COMPUTING: dict[str, Any] = {"device": "cpu", "compile": False, "precision": "fp32"}
CALL: dict[str, Any] = {
    "checkpoint": "runs/base", "dataset": "asked.jsonl", "save_every": 3, "eval_every": 4,
    "sample_every": 5, "log_every": 1, "batch_tokens": 512, "micro_batch": 4, **COMPUTING,
}  # fmt: skip


def killed(folder: str, cores: int, kills: int) -> dict[str, Any]:
    """How many of the attempts a kill ended, and whether the end is the same to the bit."""
    import pylm
    from tests.support.killed_tuning import STEPS_OF_KILL, left, plan, tuned

    os.chdir(folder)
    Path("text.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in documents(500, 0)))
    rows = ({"prompt": one.prompt, "completion": one.completion} for one in examples(300, 0))
    Path("asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pylm.train("text.jsonl", out="runs/base", max_steps=20, batch_tokens=512, **SHAPE, **COMPUTING)
    call = {**CALL, "max_steps": STEPS_OF_KILL * kills}
    tuned({**call, "out": "runs/whole"}, [])
    whole = left("runs/whole")
    shutil.rmtree(next(Path("data").glob("asked-*")))
    codes = tuned({**call, "out": "runs/killed", "resume": "auto"}, plan(kills, seed=1))
    same = left("runs/killed") == whole and codes[-1] == 0 and set(codes) <= {0, -signal.SIGKILL}
    return {"kills": codes.count(-signal.SIGKILL), "same": same, "result": None}


def test_killed_in_each_phase(compare: Compare, tmp_path: Path) -> None:
    found = compare.benchmark.pedantic(
        lambda: compare.once(Side("pylm", killed), **BOTH, folder=str(tmp_path), kills=KILLS)
    )
    verdict = "met" if found["same"] and found["kills"] >= KILLS else "short"
    name = "kills in each phase, the same end to the bit"
    compare.report.add(
        compare.subject, Row(name, found["kills"], None, None, None, None, f"{KILLS}, 0 bits", verdict, "")
    )
