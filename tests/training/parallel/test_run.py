"""A run of several processes is the run of one: what it writes, how it stops, goes on and fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.ranks import in_world
from tests.support.shards import write_shards

SHORT: Any = {
    "n_layers": 1, "n_heads": 2, "d_model": 16, "context_length": 16, "device": "cpu", "compile": False,
    "batch_tokens": 128, "micro_batch": 1, "max_steps": 6, "save_every": 3, "eval_every": 3, "eval_batches": 3,
    "log_every": 1, "learning_rate": 1e-3, "backend": "torch", "precision": "fp32", "sample_every": None,
}  # fmt: skip


def trained(given: dict[str, Any], out: str, before: Any = None, **asked: Any) -> Any:
    """Train in this process, and return the events that it heard, by name, or how it failed."""
    from pylm.config.given import Given
    from pylm.errors import PylmError
    from pylm.runs import Stop
    from pylm.training.request import Request
    from pylm.training.run import train

    settings = tuple((f"train.{key}" if key not in MODEL else MODEL[key], value, key) for key, value in given.items())
    heard: list[Any] = []
    stop = Stop()
    if before is not None:
        before(int(os.environ.get("RANK", "0")), stop, heard)
    request = Request(Given("train", settings=settings), data="ids", out=Path(out), **asked)
    try:
        train(request, heard.append, stop=stop)
    except PylmError as error:
        return type(error).__name__, error.exit_code, error.message, error.hint
    return [type(event).__name__ for event in heard]


MODEL = {
    **{key: f"model.{key}" for key in ("n_layers", "n_heads", "d_model", "context_length")},
    "log_every": "metrics.log_every",
    "seed": "train.seed",
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    write_shards(folder / "ids", 60, np.random.default_rng(2), count=4000)
    return folder


@pytest.fixture(autouse=True)
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYLM_CACHE", str(workplace / "cache"))


def lines(run: str, *keys: str) -> np.ndarray:
    import pylm

    return np.array([[record.get(key, np.nan) for key in keys] for record in pylm.Run(run).metrics()], float)


def test_two_processes_write_the_run_of_one():
    [alone] = in_world(1, trained, SHORT, "alone")
    first, other = in_world(2, trained, SHORT, "two")
    assert first == alone and first[-1] == "Ended" and other == []
    keys = ("step", "loss", "val_loss", "accuracy", "bits_per_byte", "lr", "grad_norm", "tokens")
    np.testing.assert_allclose(lines("two", *keys), lines("alone", *keys), rtol=0, atol=1e-6)
    names = [sorted(str(path.relative_to(run)) for path in Path(run).rglob("*")) for run in ("alone", "two")]
    assert names[0] == names[1]
