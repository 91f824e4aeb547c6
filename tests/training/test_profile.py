"""`profile`: a trace that trace viewers open, our C++ kernels by name, and the run as it would be without."""

from __future__ import annotations

import gzip
import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pylm
from pylm import _native
from pylm.errors import UsageError
from pylm.training import events
from pylm.training.profiling import profiled
from tests.support.shards import write_shards

SHORT: Any = {"n_layers": 1, "n_heads": 2, "d_model": 16, "context_length": 16, "device": "cpu", "compile": False,
              "batch_tokens": 64, "max_steps": 9, "save_every": 9, "eval_every": None, "log_every": 1,
              "backend": "torch", "micro_batch": 4}  # fmt: skip


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    write_shards(tmp_path / "ids", 60, np.random.default_rng(2), count=4000)


def test_steps_are_profiled_and_nothing_else_changes() -> None:
    heard: list[Any] = []
    before = dict(vars(_native))
    plain = pylm.train(data="ids", out="plain", on_event=lambda event: None, **SHORT)
    run = pylm.train(data="ids", out="r", profile=3, on_event=heard.append, **SHORT)
    losses = [[line["loss"] for line in one.metrics() if "loss" in line] for one in (plain, run)]
    assert losses[0] == losses[1] and dict(vars(_native)) == before
    trace = json.loads(gzip.decompress(Path("r/profile/trace.json.gz").read_bytes()))
    ranges = [one for one in trace["traceEvents"] if one.get("ph") == "X"]
    assert all({"name", "ts", "dur", "pid", "tid"} <= one.keys() for one in ranges)  # the Trace Event Format
    assert len([one for one in ranges if one["name"] == "pylm::adamw"]) == 3, "one a step"
    names = {one["name"] for one in ranges}
    assert {"pylm::norm_forward", "pylm::norm_backward", "pylm::attention_forward", "aten::mm"} <= names
    table = Path("r/profile/kernels.txt").read_text().splitlines()
    (line,) = [line.split() for line in table if line.startswith("pylm::adamw")]
    assert line[1] == "1" and float(line[2]) > 0, "of one step"
    shares = [float(line.split()[-1].rstrip("%")) for line in table[1:]]
    assert shares == sorted(shares, reverse=True) and 90 < sum(shares) < 101
    said = [one.text for one in heard if isinstance(one, events.Note) and "profiled" in one.text]
    assert said == ["3 steps are profiled: r/profile/trace.json.gz, which Perfetto opens, and r/profile/kernels.txt"]


@pytest.mark.parametrize(
    ("steps", "said"),
    [(6, "2 steps are profiled"), (5, "1 step is profiled"), (4, "nothing is profiled"), (2, "nothing is profiled")],
)
def test_a_run_that_ends_before_says_what_there_is(steps: int, said: str) -> None:
    heard: list[Any] = []
    run = pylm.train(data="ids", out="r", profile=50, on_event=heard.append, **{**SHORT, "max_steps": steps})
    assert [one.text.startswith(said) for one in heard if isinstance(one, events.Note) and "profiled" in one.text] == [
        True
    ]
    assert (run.path / "profile").exists() == (steps > 4)


def test_another_framework_is_refused() -> None:
    backend = types.SimpleNamespace(name="mlx")
    session: Any = types.SimpleNamespace(
        backend=backend, files=types.SimpleNamespace(folder=types.SimpleNamespace(path=Path("r")))
    )
    with pytest.raises(UsageError, match="steps of torch are profiled, and this run computes with mlx"):
        profiled(session, 3)


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_what_is_no_number_of_steps_is_refused(steps: Any) -> None:
    with pytest.raises(UsageError, match="is no number of steps"):
        pylm.train(data="ids", out="r", profile=steps, **SHORT)
