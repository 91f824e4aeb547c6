"""While it probes the backend says what it tries, before it tries it: nothing looks hung."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.config.schema import Model, Train
from pylm.config.shape import complete
from pylm.training import probe
from pylm.training.backend import MicroBatch
from pylm.training.torch_backend import machine, make
from pylm.wording import in_options


def rows(count: int) -> MicroBatch:
    ids = np.random.default_rng(count).integers(0, 50, (count, 17))
    return MicroBatch(np.ascontiguousarray(ids[:, :-1]), np.ascontiguousarray(ids[:, 1:]))


def test_each_trial_is_said_before_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path))
    monkeypatch.setattr(probe, "CPU_TOKENS", (16, 32, 64))
    said: list[str] = []
    plain = probe._Search.seconds

    def timed(*given: Any, **named: Any) -> float:
        said.append("timed")
        return plain(*given, **named)

    monkeypatch.setattr(probe._Search, "seconds", timed)
    monkeypatch.setattr(probe._Search, "_try_compiling", lambda *given: {"compiled": 1.0, "eager": 1.0})
    monkeypatch.setattr(machine, "known_matmul_flops", lambda *given, **named: said.append("products") or 1e9)
    shape = complete(Model(n_layers=1, n_heads=1, d_model=16, d_ff=16, context_length=16), 50)
    make(shape, Train(device="cpu", precision="fp32"), doing=said.append).probe(rows, None)
    assert [in_options(text) for text in said] == [
        "measuring this machine: 1 of 3 batch sizes (once for this shape; --micro-batch 1 skips it)",
        "timed",
        "measuring this machine: 2 of 3 batch sizes (once for this shape; --micro-batch 1 skips it)",
        "timed",
        "measuring this machine: 3 of 3 batch sizes (once for this shape; --micro-batch 1 skips it)",
        "timed",
        "measuring this machine: the time of a step (once for this shape)",
        "timed",
        "measuring this machine: its matrix products",
        "products",
    ]


def test_a_trial_of_compiling_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path))
    said: list[str] = []
    shape = complete(Model(n_layers=1, n_heads=1, d_model=16, d_ff=16, context_length=16), 50)
    train = Train(device="cpu", precision="fp32", compile=True, micro_batch=2)
    backend = make(shape, train, doing=said.append)
    monkeypatch.setattr(backend, "compile", lambda: said.append("compiled"))
    backend.probe(rows, None)
    said = [in_options(text) for text in said]
    assert said.index("trying torch.compile: about 30 s (once for this shape; --no-compile skips it)") < said.index(
        "compiled"
    )
