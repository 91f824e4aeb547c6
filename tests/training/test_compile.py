"""torch.compile while training: what is tried, remembered and refused, and that nothing is compiled twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from pylm.config.schema import Model, Train
from pylm.config.shape import complete
from pylm.errors import PylmError
from pylm.training import probe
from pylm.training.backend import MicroBatch
from pylm.training.torch_backend import TorchBackend, make
from pylm.training.torch_backend.trial import TorchTrial
from pylm.wording import in_options

# torch's own, while it looks at a graph for the first time
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method`", "ignore:The .grad attribute of a Tensor")

VOCABULARY, CONTEXT = 61, 16
LONG = 1e6  # seconds of a run, that would outlast any compiler


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path))
    torch.compiler.reset()
    yield tmp_path
    torch.compiler.reset()


def backend(**train: Any) -> TorchBackend:
    shape = complete(Model(n_layers=3, n_heads=2, d_model=32, context_length=CONTEXT), VOCABULARY)
    settings = Train(precision="fp32", device="cpu", micro_batch=4, **train)
    return make(shape, settings, run_seconds=lambda step: LONG)


def batch(rows: int, starts: list[int] | None = None, seed: int = 0) -> MicroBatch:
    ids = np.random.default_rng(seed).integers(0, VOCABULARY, (rows, CONTEXT + 1))
    ends = None
    if starts is not None:
        ends = np.array(sorted({*range(0, rows * CONTEXT + 1, CONTEXT), *starts}), np.int32)
    return MicroBatch(ids[:, :-1].copy(), ids[:, 1:].copy(), ends)


def compiling(monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Let blocks be captured as ever, and what was captured run as it is: no C++ compiler is waited for."""
    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **given: whole(self, **{**given, **options}))


def timed(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[bool], float]) -> list[bool]:
    """Replace the clock: what a pass takes, by whether it ran compiled. Returns which did, in order."""
    ran: list[bool] = []

    def one_pass(search: probe._Search, micro_batch: MicroBatch) -> float:
        assert isinstance(search.trial, TorchTrial)
        ran.append(search.trial.backend.model.blocks[0]._compiled_call_impl is not None)
        return seconds(ran[-1])

    monkeypatch.setattr(probe._Search, "_pass", one_pass)
    return ran


def remembered(cache: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cache / "probes.json").read_text())
    (value,) = [value for key, value in found.items() if not key.startswith("matmul")]
    assert isinstance(value, dict)
    return value


def test_a_trial_takes_turns_and_is_remembered(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = timed(monkeypatch, lambda compiled: 0.5 if compiled else 1.0)
    choices = backend(compile="auto").probe(batch, 4)
    assert choices["compile"] and choices["compile_why"] == "0.5 s a pass with it, 1 s without"
    trial = ran[ran.index(True) :]
    assert trial == [True] + [True, False] * (len(trial) // 2), "what disturbs one of them disturbs the other"
    assert remembered(cache)["trial"] == {"compiled": 0.5, "eager": 1.0}
    ran.clear()
    again = backend(compile="auto").probe(batch, 4)
    assert again["compile"] and not ran, "the same compiler, the same answer, without trying"


def test_a_compiled_pass_is_compared_with_an_eager_one_of_the_same_minute(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(monkeypatch, lambda compiled: 0.1)
    backend(compile=False).probe(batch, 4)  # on a quiet machine
    timed(monkeypatch, lambda compiled: 2.0 if compiled else 4.0)  # on a busy one
    choices = backend(compile="auto").probe(batch, 4)
    assert choices["compile"], "half of the time that the model takes without, however long that is today"
    assert "trial" not in remembered(cache), "a trial beside other work is nothing to remember"


def test_another_compiler_is_another_trial(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, lambda compiled: 1.0)
    assert not backend(compile="auto").probe(batch, 4)["compile"]
    compiler = cache / "g++"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    ran = timed(monkeypatch, lambda compiled: 0.5 if compiled else 1.0)
    assert backend(compile="auto").probe(batch, 4)["compile"] and True in ran


def test_a_failure_is_told_and_forgotten(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler is where\nit was")

    with monkeypatch.context() as broken:
        compiling(broken, backend=fails)
        choices = backend(compile="auto").probe(batch, 4)
        assert not choices["compile"] and choices["compile_why"].startswith("torch.compile failed here: ")
        assert "failure" not in str(remembered(cache))
        with pytest.raises(PylmError, match="torch.compile failed: .* raised"):
            backend(compile=True).probe(batch, 4)
    compiling(monkeypatch, backend="eager")
    assert backend(compile=True).probe(batch, 4)["compile"], "the compiler was mended"


def test_compile_true_is_refused_where_it_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    one = backend(compile=True)
    monkeypatch.setattr(one, "torch_device", torch.device("mps"))
    with pytest.raises(PylmError, match="train.compile true: torch.compile is not used on mps") as caught:
        one.probe(batch, 4)
    assert in_options(str(caught.value.marked[1])) == "leave it out, or --compile false"


def test_packed_windows_are_another_probe() -> None:
    trial = TorchTrial(backend(compile=False))
    assert probe.key_of(trial, lambda rows: batch(rows, [3]), 4) != probe.key_of(trial, batch, 4)


def test_an_apple_gpu_that_is_full_says_so_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    one = backend()
    monkeypatch.setattr(one, "torch_device", torch.device("meta"))
    monkeypatch.setattr(one, "memory", lambda: 1)

    def micro_batch() -> int:
        search = probe._Search(TorchTrial(one), batch, 16, lambda step: LONG, lambda text: None, lambda: False)
        return probe._largest(search)

    def passing(micro_batch: MicroBatch) -> None:
        if len(micro_batch.inputs) > 5:
            raise RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB, other allocations: 1.00 GB)")

    monkeypatch.setattr(one, "forward_backward", passing)
    assert micro_batch() == 4

    def broken(micro_batch: MicroBatch) -> None:
        raise RuntimeError("placeholder storage has not been allocated")

    monkeypatch.setattr(one, "forward_backward", broken)
    with pytest.raises(RuntimeError, match="placeholder storage"):
        micro_batch()


@pytest.mark.parametrize("packed", [False, True])
def test_nothing_is_compiled_again_after_the_first_step(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps whose documents end elsewhere each time, evaluations of fewer rows, samples of every length."""
    compiling(monkeypatch, backend="eager")
    one, plain = backend(compile=True), backend(compile=False)
    one.compile()
    counters.clear()
    chance = np.random.default_rng(1)

    def starts() -> list[int] | None:
        return chance.integers(1, 4 * CONTEXT, chance.integers(0, 20)).tolist() if packed else None

    given = [batch(4, starts(), seed) for seed in range(12)]
    losses = [one.step([given[0]], 1e-3).loss]
    graphs = counters["stats"]["unique_graphs"]
    assert 0 < graphs <= 2, "the first block has nothing to add to its stream, the others are alike"
    for step, micro_batch in enumerate(given[1:], 1):
        losses.append(one.step([micro_batch], 1e-3).loss)
        one.loss(batch(1 + step % 3, seed=step))
        one.logits(list(range(1, 2 + step)))
    assert counters["stats"]["unique_graphs"] == graphs
    assert losses == pytest.approx([plain.step([micro_batch], 1e-3).loss for micro_batch in given], abs=1e-5)
