"""The torch backend against a plain torch model and loop: losses, micro-batches, precisions, evaluation, probing."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from pylm.config.schema import Model, Train
from pylm.config.shape import complete
from pylm.training.backend import MicroBatch, cut
from pylm.training.probe import _largest, _Search, key_of
from pylm.training.torch_backend import TorchBackend, make
from pylm.training.torch_backend.trial import TorchTrial
from tests.support.plain_llama import PlainLlama, Recipe

VOCABULARY, CONTEXT = 97, 12


def shape(**fields: Any) -> Model:
    return complete(Model(n_layers=2, n_heads=2, d_model=32, context_length=CONTEXT, **fields), VOCABULARY)


def batches(count: int, rows: int = 6) -> list[MicroBatch]:
    chance = np.random.default_rng(4)
    made = []
    for _ in range(count):
        ids = (chance.random((rows, CONTEXT + 1)) ** 2 * VOCABULARY).astype(np.int64)
        made.append(MicroBatch(ids[:, :-1].copy(), ids[:, 1:].copy()))
    return made


def backend(precision: str = "fp32", model: Model | None = None, **train: Any) -> TorchBackend:
    settings = Train(precision=precision, device="cpu", compile=False, **train)  # type: ignore[arg-type]
    return make(model or shape(), settings)


def rates() -> Iterator[float]:
    return iter(np.linspace(1e-3, 1e-2, 30))


@pytest.mark.parametrize("kernels", ["reference", ""])
def test_losses_are_those_of_a_plain_model_and_loop(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_KERNELS", kernels)
    ours = backend()
    recipe = Recipe(layers=2, heads=2, steps=30, learning_rate=1e-3, warmup=0)
    plain = PlainLlama(ours.masters, recipe)
    for batch, lr in zip(batches(30 if kernels else 10), rates(), strict=False):
        loss, _ = plain.step(batch.inputs, batch.targets, lr)
        # of the very weights that we have: what rounding has done to others by now can turn a gradient's norm far
        _, norm = PlainLlama(ours.masters, recipe).step(batch.inputs, batch.targets, lr)
        found = ours.step([batch], lr)
        assert found.loss == pytest.approx(loss, abs=1e-5) and found.grad_norm == pytest.approx(norm, rel=1e-5)
    for name, tensor in plain.w.items():
        torch.testing.assert_close(ours.masters[name], tensor.detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("precision", "within"), [("fp32", 1e-5), ("bf16", 2e-2), ("fp16", 2e-2)])
def test_micro_batches_add_up_to_the_whole(precision: str, within: float) -> None:
    whole, parts = backend(precision), backend(precision)
    for batch in batches(5):
        one = whole.step([batch], 1e-3)
        many = parts.step(cut(*batch, 2), 1e-3)
        assert many.loss == pytest.approx(one.loss, rel=within) and many.grad_norm == pytest.approx(
            one.grad_norm, rel=0.05
        )
    for name in whole.masters:
        assert (whole.masters[name] - parts.masters[name]).norm() <= max(within, 1e-3) * whole.masters[name].norm()


def test_targets_that_do_not_count_weigh_nothing() -> None:
    whole, parts = backend(), backend()
    (batch,) = batches(1)
    batch.targets[0, 2:] = -100
    batch.targets[4] = -100
    one, many = whole.step([batch], 1e-3), parts.step(cut(*batch, 1)[:4] + cut(*batch, 1)[5:], 1e-3)
    assert many.loss == pytest.approx(one.loss, rel=1e-5) and many.grad_norm == pytest.approx(one.grad_norm, rel=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_masters_stay_wide_and_the_model_computes_with_their_rounding(precision: str) -> None:
    narrow, wide = backend(precision), backend()
    for batch in batches(20):
        found, expected = narrow.step([batch], 1e-3), wide.step([batch], 1e-3)
        assert found.loss == pytest.approx(expected.loss, abs=0.05)
    for name, master in narrow.masters.items():
        assert master.dtype == torch.float32
        rounded = master.to(narrow.dtype)
        torch.testing.assert_close(narrow.model.weights()[name], rounded, rtol=0, atol=0)
    assert any((master != master.to(narrow.dtype).float()).any() for master in narrow.masters.values())


def test_fp16_finds_a_scale_that_fits_and_takes_the_step_again() -> None:
    one = backend("fp16")
    one._scale.value = 2.0**40
    (batch,) = batches(1)
    before = {name: master.clone() for name, master in one.masters.items()}
    found = one.step([batch], 1e-3)
    assert found.finite and one._scale.value < 2.0**40
    assert any((before[name] != master).any() for name, master in one.masters.items())
    state = one.optimizer_state()
    other = backend("fp16")
    other.load(one.weights(), state)
    assert other._scale.value == one._scale.value


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_not_finite_changes_nothing(precision: str) -> None:
    one = backend(precision)
    first, second = batches(2)
    one.step([first], 1e-3)
    before = {name: bytes(tensor.data) for name, tensor in {**one.weights(), **one.optimizer_state()}.items()}
    gain = one.model.norm.weight.detach()
    kept = gain.clone()
    gain.fill_(math.nan)
    found = one.step([second], 1e-3)
    gain.copy_(kept)
    assert not found.finite and math.isnan(found.loss)
    after = {name: bytes(tensor.data) for name, tensor in {**one.weights(), **one.optimizer_state()}.items()}
    assert before.keys() == after.keys()
    changed = [name for name in before if before[name] != after[name] and name != "norm.weight"]
    assert changed == []
    assert one.step([second], 1e-3).finite


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_loaded_backend_goes_on_to_the_bit(precision: str) -> None:
    model = shape(dropout=0.2)
    whole = backend(precision, model)
    given = batches(6)
    for batch in given[:3]:
        whole.step([batch], 1e-2)
    part = backend(precision, model, seed=99)
    part.load(whole.weights(), whole.optimizer_state())
    saved = whole.rng()
    expected = [whole.step([batch], 1e-2) for batch in given[3:]]
    part.set_rng(saved)
    assert [part.step([batch], 1e-2) for batch in given[3:]] == expected
    for name, tensor in whole.weights().items():
        assert bytes(part.weights()[name].data) == bytes(tensor.data)


def test_activation_checkpointing_changes_no_number() -> None:
    plain, frugal = backend(), backend(activation_checkpointing=True)
    for batch in batches(4):
        assert frugal.step([batch], 1e-3) == plain.step([batch], 1e-3)


def test_evaluation_counts_every_token_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from pylm.training import backend as module

    one = backend()
    (batch,) = batches(1)
    batch.targets[2, 3:] = -100
    with torch.no_grad():
        logits = one.model(torch.from_numpy(batch.inputs))
    targets = torch.from_numpy(batch.targets)
    each = functional.cross_entropy(logits.flatten(0, 1).double(), targets.flatten(), reduction="none")
    expected = each.sum()
    for size in (1 << 28, 4 * CONTEXT * VOCABULARY * 2):
        monkeypatch.setattr(module, "EVALUATION_BYTES", size)
        counts = one.loss(batch)
        assert counts.loss == pytest.approx(float(expected), rel=1e-5) and counts.tokens == int((targets != -100).sum())
        assert counts.correct == int((logits.argmax(-1) == targets).sum())
        assert counts.losses.shape == targets.shape and counts.losses.dtype == np.float32
        np.testing.assert_allclose(counts.losses.ravel(), each.numpy(), rtol=1e-5, atol=1e-6)


def test_a_copy_that_was_saved_does_not_change() -> None:
    one = backend()
    first, second = batches(2)
    one.step([first], 1e-2)
    saved = one.weights()
    before = bytes(saved["embed.weight"].data)
    one.step([second], 1e-2)
    assert bytes(saved["embed.weight"].data) == before


def test_probing_leaves_no_trace_and_is_remembered(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path))
    one, other = backend(model=shape(dropout=0.1)), backend(model=shape(dropout=0.1))
    (batch,) = batches(1, rows=400)
    asked: list[int] = []
    before = one.rng()

    def rows(count: int) -> MicroBatch:
        asked.append(count)
        return MicroBatch(batch.inputs[:count], batch.targets[:count])

    choices = one.probe(rows, 400)
    assert 400 % choices["micro_batch"] == 0 and choices["seconds_per_step"] > 0 and asked
    given = batches(3)
    assert one.rng() == before
    expected = [one.step([batch], 1e-3) for batch in given]
    other.set_rng(before)
    assert [other.step([batch], 1e-3) for batch in given] == expected
    asked.clear()
    again = backend(model=shape(dropout=0.1)).probe(rows, 400)
    assert again["matmul_flops"] >= choices["matmul_flops"] > 0  # measured again, and the best of both
    assert {**again, "matmul_flops": choices["matmul_flops"]} == choices
    assert asked == [1]  # to see whether windows are packed
    asked.clear()
    # a length in time is planned by what a step takes now
    timed = backend(model=shape(dropout=0.1), max_time=60.0).probe(rows, 400)
    speeds = {"seconds_per_step", "matmul_flops"}
    assert {key: timed[key] for key in timed.keys() - speeds} == {key: choices[key] for key in choices.keys() - speeds}
    assert asked == [1, choices["micro_batch"]] and timed["seconds_per_step"] > 0


def test_muon_is_timed_by_its_own_products_and_steps_nothing(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path))
    one, before = backend(optimizer="muon"), backend(optimizer="muon").weights()
    trial, plain = TorchTrial(one), TorchTrial(backend())
    assert trial.muon_seconds() > 0 and plain.muon_seconds() == 0
    (batch,) = batches(1)
    packed = batch._replace(cu_seqlens=np.array([0, CONTEXT], np.int32))
    assert len({key_of(trial, lambda rows: batch, 8), key_of(plain, lambda rows: batch, 8),
                key_of(plain, lambda rows: packed, 8)}) == 3  # fmt: skip
    after = one.weights()
    assert all(bytes(after[name].data) == bytes(before[name].data) for name in before)
    momenta = [bytes(tensor.data) for name, tensor in one.optimizer_state().items() if name.startswith("momentum")]
    assert momenta and not any(any(data) for data in momenta)


def test_a_gpu_that_is_full_gets_the_largest_micro_batch_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search itself, on a device that has room for 11 rows."""
    one = backend()
    monkeypatch.setattr(one, "torch_device", torch.device("meta"))

    def passing(batch: MicroBatch) -> None:
        if len(batch.inputs) > 11:
            raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(one, "forward_backward", passing)
    monkeypatch.setattr(one, "memory", lambda: 1)
    (batch,) = batches(1, rows=64)

    def micro_batch() -> int:
        def rows(count: int) -> MicroBatch:
            return MicroBatch(batch.inputs[:count], batch.targets[:count])

        return _largest(_Search(TorchTrial(one), rows, 48, lambda step: 0.0, lambda text: None, lambda: False))

    assert micro_batch() == 8
    monkeypatch.setattr(one, "forward_backward", lambda batch: passing(MicroBatch(np.zeros(99), None)))
    with pytest.raises(Exception, match="a micro-batch of 1 does not fit"):
        micro_batch()


def test_a_process_with_a_limit_of_threads_learns_what_one_without_learns() -> None:
    """OpenMP gives a process fewer threads than torch asks for, and torch's products in bf16 are then wrong."""
    program = (
        "import torch; torch.set_num_threads(2)\n"
        "from pylm.training.torch_backend import machine\n"
        "machine.obey_thread_limit()\n"
        "a = torch.randn(512, 256, generator=torch.Generator().manual_seed(0)).bfloat16()\n"
        "print(torch.get_num_threads(), (a @ a.T).float().sub(a.double() @ a.double().T).abs().max().item() < 1)\n"
    )
    limited = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=limited, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "True"], done.stderr
