"""A run whose processes hold rows is the run of one, its checkpoints too, and any number of them goes on with it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.checkpoint import newest_sound, read, steps, verify
from tests.support.ranks import in_world, lines
from tests.support.shards import write_shards

SHORT: dict[str, Any] = {
    "train": {"device": "cpu", "compile": False, "batch_tokens": 64, "micro_batch": 1, "max_steps": 6, "save_every": 2,
              "eval_every": 3, "eval_batches": 3, "learning_rate": 1e-3, "backend": "torch", "precision": "fp32",
              "sample_every": None, "keep_last": 9, "optimizer": "muon", "average": "ema", "average_every": 1},
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 16, "context_length": 16},
    "metrics": {"log_every": 1},
}  # fmt: skip


def trained(out: str, given: dict[str, Any], killed_in_save: bool = False, resume: str | None = None) -> Any:
    """Train in this process, and return the names of the events that it heard, or how it failed."""
    from pylm.checkpoint import sharded_saver
    from pylm.config.given import Given
    from pylm.errors import PylmError
    from pylm.training.optim import muon
    from pylm.training.request import Request
    from pylm.training.run import train

    muon._has_fast_bf16 = lambda device: False
    if killed_in_save and os.environ["RANK"] == "1":
        sharded_saver.write_shard = lambda path, kept: os.kill(os.getpid(), signal.SIGKILL)
    train_keys = {**SHORT["train"], **given}
    sections = {**SHORT, "train": train_keys}
    settings = tuple((f"{name}.{key}", value, key) for name, keys in sections.items() for key, value in keys.items())
    heard: list[Any] = []
    try:
        train(Request(Given("train", settings=settings), data="ids", out=Path(out), resume=resume), heard.append)
    except PylmError as error:
        return error.message, error.hint
    return [type(event).__name__ for event in heard]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    write_shards(folder / "ids", 60, np.random.default_rng(2), count=4000)
    return folder


@pytest.fixture(autouse=True)
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYLM_CACHE", str(workplace / "cache"))


FSDP = {"parallel": "fsdp"}
PLAIN = {"average": "off", "average_every": None, "optimizer": "adamw", "schedule": "constant", "warmup_steps": 0}
KEYS = ("step", "loss", "val_loss", "average_val_loss", "accuracy", "lr", "grad_norm", "tokens")


def test_two_processes_write_the_run_of_one():
    [alone] = in_world(1, trained, "alone", {})
    first, other = in_world(2, trained, "two", FSDP)
    kept = [sorted(name for name in heard if name != "Doing") for heard in (first, alone)]  # parts are measured anew
    assert kept[0] == kept[1] and first[-1] == "Ended" and other == []  # told of a save when it is done
    np.testing.assert_allclose(lines("two", *KEYS), lines("alone", *KEYS), rtol=0, atol=1e-6)
    names = [sorted(str(path.relative_to(run)) for path in Path(run).rglob("*")) for run in ("alone", "two")]
    assert names[0] == names[1]
    states = [verify(Path(run, "checkpoints/step_6")).state for run in ("alone", "two")]
    for state in states:
        del state["progress"], state["choices"], state["average"]["manifest"]
    assert states[0] == states[1]


RUNS = ("in_shards", "whole")


def test_shards_that_a_killed_run_left_are_gone_on_with_by_any_number():
    """One of two is killed within its save, then another number goes on from what stood before."""
    given = {**FSDP, "consolidate": False, **PLAIN}
    in_world(1, trained, "whole", PLAIN)
    in_world(2, trained, "in_shards", {**given, "max_steps": 4})
    with pytest.raises(AssertionError, match="peer|without a word"):
        in_world(2, trained, "in_shards", {**given, "max_steps": 6}, True, "auto")
    assert steps(Path("in_shards"))[-1] == 4 and read(newest_sound(Path("in_shards"))).in_shards
    assert in_world(1, trained, "in_shards", {**given, "max_steps": 5}, False, "auto")[0][-1] == "Ended"
    assert in_world(4, trained, "in_shards", {**given, "max_steps": 6}, False, "auto")[0][-1] == "Ended"
    went_on, whole = (dict(lines(run, "step", "loss")[~np.isnan(lines(run, "loss"))[:, 0]]) for run in RUNS)
    assert went_on.keys() == whole.keys() and went_on == pytest.approx(whole, rel=0, abs=1e-6)
    assert read(Path("in_shards/checkpoints/step_6")).in_shards
    assert not read(Path("in_shards/checkpoints/step_5")).in_shards
