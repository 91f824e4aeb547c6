"""A tuning of several processes is the tuning of one: the first reads the examples and judges, all learn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.errors import PylmError
from tests.finetuning.conftest import SETTINGS, conversations, write_rows
from tests.support.ranks import in_world, lines

SHORT: Any = {**SETTINGS, "batch_tokens": 256, "micro_batch": 1, "max_steps": 4, "eval_every": 2, "save_every": 2,
              "sample_every": None, "learning_rate": 1e-3, "schedule": "constant", "warmup_steps": 0}  # fmt: skip
KEYS = ("step", "loss", "val_loss", "accuracy", "tokens")


def tuned(out: str, dataset: str, given: dict[str, Any], resume: str | None = None) -> Any:
    """Tune in this process, and return the names of the events that it heard, or how it failed."""
    import pylm
    from pylm.training.optim import muon

    muon._has_fast_bf16 = lambda device: False
    heard: list[Any] = []
    try:
        if resume is None:
            pylm.finetune("runs/base", dataset=dataset, out=out, on_event=heard.append, **{**SHORT, **given})
        else:
            pylm.finetune(out=out, resume=resume, on_event=heard.append, **given)
    except PylmError as error:
        return error.exit_code, error.message, error.hint
    return [type(event).__name__ for event in heard]


@pytest.fixture(autouse=True)
def examples(here: Path) -> None:
    if not Path("odd.jsonl").exists():
        rows = [
            {"prompt": f"say {number}", "chosen": " yes" * (1 + number % 5), "rejected": " no"} for number in range(80)
        ]
        write_rows("alternatives.jsonl", rows)
        write_rows("odd.jsonl", conversations(90, seed=8))


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("odd.jsonl", {}),
    "lora": ("odd.jsonl", {"method": "lora", "lora_dropout": 0.2}),
    "frozen": ("odd.jsonl", {"freeze": "embeddings", "optimizer": "muon"}),
    "dpo": ("alternatives.jsonl", {"method": "dpo"}),
    "dpo-lora": ("alternatives.jsonl", {"method": "dpo-lora"}),
    "fsdp": ("odd.jsonl", {"parallel": "fsdp"}),
}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_tune_as_one_does(case):
    dataset, given = CASES[case]
    alone = {key: value for key, value in given.items() if key != "parallel"}
    [one] = in_world(1, tuned, f"runs/one-{case}", dataset, alone)
    first, other = in_world(2, tuned, f"runs/two-{case}", dataset, given)
    assert one[-1] in ("Ended", "Judged") and other == []
    assert set(first) == set(one) - {"Prepared"}  # its examples are tokens already
    runs = [f"runs/{many}-{case}" for many in ("two", "one")]
    np.testing.assert_allclose(*(lines(run, *KEYS) for run in runs), rtol=0, atol=1e-6)
    np.testing.assert_allclose(*(lines(run, "grad_norm") for run in runs), rtol=2e-6)
    judged = [[json.loads(line) for line in evaluations(run)] for run in runs]
    assert [len(some) for some in judged] == [len(judged[1])] * 2
    for ours, theirs in zip(*judged, strict=True):
        assert ours["metric"] == theirs["metric"] and ours["value"] == pytest.approx(
            theirs["value"], rel=1e-6, abs=1e-6
        )


def evaluations(run: str) -> list[str]:
    file = Path(run, "evaluations.jsonl")
    return file.read_text().splitlines() if file.exists() else []


def test_another_number_goes_on_with_a_tuning():
    in_world(1, tuned, "runs/whole-lora", "odd.jsonl", {"method": "lora"})
    in_world(2, tuned, "runs/half-of-two", "odd.jsonl", {"method": "lora", "max_steps": 2})
    assert in_world(1, tuned, "runs/half-of-two", "", {"max_steps": 4}, "auto")[0][-1] == "Judged"
    kept = [
        dict(lines(run, "step", "loss")[~np.isnan(lines(run, "loss"))[:, 0]])
        for run in ("runs/half-of-two", "runs/whole-lora")
    ]
    assert kept[0] == pytest.approx(kept[1], rel=0, abs=1e-6)


def test_adapters_are_not_cut_and_that_is_said_before_anything_is_read():
    ends = in_world(2, tuned, "runs/never-cut", "odd.jsonl", {"method": "lora", "parallel": "fsdp"})
    assert ends[0][1].endswith("trains no adapters: each process has all of their base") and ends[0][0] == 2
    assert not Path("runs/never-cut").exists()


def test_the_line_starts_several_processes(here: Path):
    keys = {**SHORT, "method": "lora", "max_steps": 2, "gpus": 2, "out": "runs/line-of-two"}
    words = [f"--{key.replace('_', '-')}={'null' if value is None else value}" for key, value in keys.items()]
    line = [sys.executable, "-m", "pylm", "finetune", "--checkpoint", "runs/base", "--dataset", "odd.jsonl", *words]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(line, capture_output=True, text=True, env=environ, cwd=here)
    assert done.returncode == 0, done.stderr
    in_world(1, tuned, "runs/called-apart", "odd.jsonl", {"method": "lora", "max_steps": 2})
    np.testing.assert_allclose(lines("runs/line-of-two", *KEYS), lines("runs/called-apart", *KEYS), rtol=0, atol=1e-6)
