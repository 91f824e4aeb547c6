"""A tuning's steps are profiled, and its incidents told of, as those of a training are."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import pylm
from pylm.cli import run as command
from pylm.errors import UsageError
from tests.finetuning.conftest import SETTINGS

SHORT: Any = {**SETTINGS, "max_steps": 6, "save_every": 6, "sample_every": None, "micro_batch": 1}
pytestmark = pytest.mark.usefixtures("here")


def tuned(out: str, **keys: Any) -> list[float]:
    run = pylm.finetune("runs/base", dataset="chat.jsonl", out=out, on_event=lambda event: None, **SHORT, **keys)
    return [line["loss"] for line in run.metrics() if "loss" in line]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_steps_are_profiled_and_the_losses_are_the_same(method: str) -> None:
    plain = tuned(f"runs/plain-{method}", method=method)
    assert tuned(f"runs/profiled-{method}", method=method, profile=2) == plain and len(plain) == 6
    folder = Path(f"runs/profiled-{method}/profile")
    trace = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))
    assert len([one for one in trace["traceEvents"] if one.get("ph") == "X" and one["name"] == "pylm::adamw"]) == 2
    assert "pylm::attention_forward" in (folder / "kernels.txt").read_text()


def test_the_command_tells_a_program_of_an_incident() -> None:
    told = Path("told.json").resolve()
    Path("told.py").write_text(f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read() + chr(10))")
    words = {**SHORT, "max_steps": 3, "learning_rate": 1e30, "grad_clip": 0.0}
    line = [f"--{key.replace('_', '-')}={'null' if value is None else value}" for key, value in words.items()]
    asked = ["finetune", "--checkpoint", "runs/base", "--dataset", "chat.jsonl", "--out", "runs/broken", *line]
    assert command([*asked, "--on-incident", f"{sys.executable} told.py"]) == 0
    first = json.loads(told.read_text().splitlines()[0])
    assert (first["kind"], Path(first["run"]).name) == ("not finite", "broken")


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [({"profile": 0}, "is no number of steps"), ({"on_incident": ["nowhere-to-be-found"]}, "there is no program")],
)
def test_what_cannot_be_is_said_before_an_example_is_read(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        pylm.finetune("runs/base", dataset="missing.jsonl", out="runs/never", **keys)
    assert not Path("runs/never").exists()
