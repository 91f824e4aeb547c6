"""Training in MLX against torch: ten optimizer steps, 200 losses, precisions, dropout, exact resume, bad steps."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch

from pylm.checkpoint import Tensor
from pylm.config.schema import Train
from pylm.errors import CheckpointError, PylmError, UsageError
from pylm.training import mlx_backend, optim, probe, torch_backend
from pylm.training.backend import MicroBatch
from pylm.training.mlx_backend.optimizer import Optimizer
from pylm.training.mlx_backend.trial import out_of_memory
from pylm.training.optim import muon
from pylm.wording import in_options
from tests.parity.pair import apart, random_weights, shape_of, to_mlx

SPEED = {"value_embeddings": True, "residual_lambdas": True, "qk_norm": True, "logit_softcap": 15.0, "mlp": "relu2",
         "n_kv_heads": 2, "tied": False}  # fmt: skip
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": "adamw", "betas": (0.8, 0.97), "weight_decay": 0.3},
    "muon": {"optimizer": "muon", "embed_lr": 0.02, "scalar_lr": 0.005, "head_lr": 0.003},
    "without clip": {"optimizer": "adamw", "grad_clip": 0.0},
}


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Muon's products are made in bfloat16 where a CPU is fast at it, and then nothing is the same to 1e-6."""
    monkeypatch.setattr(muon, "_has_fast_bf16", lambda device: False)


def train_of(**settings: Any) -> Train:
    given = {"precision": "fp32", "compile": False, "device": "cpu", "learning_rate": 0.01, "seed": 11, **settings}
    return Train.model_validate(given)


def rows(chance: np.random.Generator, count: int, packed: bool = False, vocabulary: int = 70) -> MicroBatch:
    """A sequence that can be learned: each token is three times the last one and one, most of the time."""
    ids = np.zeros((count, 13), np.int64)
    ids[:, 0] = chance.integers(vocabulary, size=count)
    for at in range(1, 13):
        noise = chance.integers(vocabulary, size=count)
        ids[:, at] = np.where(chance.random(count) < 0.8, (3 * ids[:, at - 1] + 1) % vocabulary, noise)
    targets = ids[:, 1:].copy()
    targets[0, :3] = -100
    ends = np.unique(np.concatenate(([0], np.arange(1, count + 1) * 12, chance.integers(1, count * 12, 3))))
    return MicroBatch(ids[:, :-1].copy(), targets, ends.astype(np.int32) if packed else None)


def steps(count: int, each: tuple[int, ...] = (3, 2), packed: bool = False, seed: int = 4) -> list[list[MicroBatch]]:
    chance = np.random.default_rng(seed)
    return [[rows(chance, size, packed) for size in each] for _ in range(count)]


def numbers(tensors: Any) -> dict[str, Any]:
    kinds = {"F32": np.float32, "I64": np.int64}
    return {name: np.frombuffer(one.data, kinds[one.dtype]).reshape(one.shape) for name, one in tensors.items()}


def same_bytes(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert bytes(tensor.data) == bytes(other[name].data), name


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_optimizer_steps_are_torchs(name: str) -> None:
    """The rules themselves, on the same gradients; the sizes make Muon split, turn and batch its matrices."""
    shape, train = shape_of(**SPEED), train_of(**OPTIMIZERS[name])
    weights = random_weights(shape)
    masters = to_mlx(weights)
    theirs, ours = optim.build(weights.items(), train), Optimizer(masters, train)
    moments = ours.fresh(masters)
    chance = torch.Generator().manual_seed(3)
    for step in range(10):
        gradients = {n: torch.randn(w.shape, generator=chance) * 10 ** (step % 3 - 2) for n, w in weights.items()}
        norm = theirs.step(0.01 * (step + 1), gradients, grad_scale=0.25)
        scalars = ours.scalars(0.01 * (step + 1), step + 1, 0.25)
        masters, moments, length = ours.step(masters, moments, to_mlx(gradients), scalars)
        assert float(length) == pytest.approx(norm, rel=1e-5)
    state = theirs.state()
    assert state.keys() == {"step", *moments}
    for where, found in ((weights, masters), (state, moments)):
        for name, array in found.items():
            assert apart(array, where[name]) < 1e-5, name


@pytest.mark.parametrize(
    ("model", "settings", "packed"),
    [({}, OPTIMIZERS["adamw"], False), (SPEED, OPTIMIZERS["muon"], False), ({"dropout": 0.2}, {}, False),
     ({"position": "learned", "norm": "layernorm", "mlp": "gelu", "bias": True}, {}, True),
     ({"dropout": 0.1, "window": 4}, {"activation_checkpointing": True}, True)],
    ids=["adamw", "muon", "dropout", "gpt2 packed", "checkpointing"],
)  # fmt: skip
def test_ten_steps_of_training_are_torchs(model: Any, settings: Any, packed: bool) -> None:
    shape, train = shape_of(**model), train_of(**settings)
    # torch imports its compiler to compute blocks again, and its own tests say that it changes nothing
    theirs = torch_backend.make(shape, train.model_copy(update={"activation_checkpointing": False}))
    ours = mlx_backend.make(shape, train)
    for number, micro_batches in enumerate(steps(10, packed=packed)):
        one, other = theirs.step(micro_batches, 0.002 * (number + 1)), ours.step(micro_batches, 0.002 * (number + 1))
        assert other.loss == pytest.approx(one.loss, rel=2e-5) and other.finite
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=2e-4)
    for one_of, other_of in ((theirs.weights(), ours.weights()), (theirs.optimizer_state(), ours.optimizer_state())):
        assert one_of.keys() == other_of.keys()
        plain = numbers(one_of)
        for name, array in numbers(other_of).items():
            # where a gradient is nearly zero, AdamW takes a whole step in the direction of its rounding
            assert apart(array, plain[name]) < 1e-3, name
    batch = steps(1, (4,), packed)[0][0]
    one_count, other_count = theirs.loss(batch), ours.loss(batch)
    assert other_count.loss == pytest.approx(one_count.loss, rel=1e-4)
    assert other_count[1:3] == one_count[1:3]
    np.testing.assert_allclose(other_count.losses, one_count.losses, rtol=1e-3, atol=1e-4)
    assert apart(ours.logits([3, 10, 31]), theirs.logits([3, 10, 31])) < 1e-4


def test_two_hundred_losses_are_torchs() -> None:
    shape, train = shape_of(qk_norm=True), train_of()
    theirs, ours = torch_backend.make(shape, train), mlx_backend.make(shape, train)
    losses = np.array([
        [one.step(micro_batches, 0.003).loss for one in (theirs, ours)] for micro_batches in steps(200, (4,))
    ])  # fmt: skip
    assert losses[-20:].mean() < 0.8 * losses[:20].mean()
    assert np.abs(losses[:, 0] - losses[:, 1]).max() < 1e-3


@pytest.mark.parametrize(("precision", "bound"), [("bf16", 0.02), ("fp16", 0.005)])
def test_half_precision_trains_as_fp32_does(precision: str, bound: float) -> None:
    shape = shape_of()
    found = {}
    for kind in ("fp32", precision):
        backend = mlx_backend.make(shape, train_of(precision=kind))
        found[kind] = [backend.step(micro_batches, 0.003).loss for micro_batches in steps(12)]
        assert {tensor.dtype for tensor in backend.weights().values()} == {"F32"}
    assert found["fp32"] != found[precision]
    np.testing.assert_allclose(found[precision], found["fp32"], atol=bound)


def test_a_scale_that_is_too_large_is_halved_and_the_step_taken_again() -> None:
    shape, train = shape_of(), train_of(precision="fp16")
    backend, calm = mlx_backend.make(shape, train), mlx_backend.make(shape, train)
    backend._scale.value = 2.0**40
    calm._scale.value = 2.0**8
    (micro_batches,) = steps(1)
    one, other = backend.step(micro_batches, 0.01), calm.step(micro_batches, 0.01)
    assert one.finite and one.loss == other.loss and backend._scale.value < 2.0**24
    assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-2)
    state = backend.optimizer_state()
    np.testing.assert_array_equal(numbers(state)["loss_scale"], [backend._scale.value, 1])
    backend._scale.value = 1.0
    backend.load(backend.weights(), state)
    assert backend._scale.value == numbers(state)["loss_scale"][0]


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    backend = mlx_backend.make(shape_of(), train_of(precision="bf16"))
    micro_batches, further = steps(2)
    backend.step(micro_batches, 0.01)
    weights, state = backend.weights(), backend.optimizer_state()
    poisoned = {**weights, "norm.weight": Tensor.of("F32", (32,), np.full(32, np.nan, np.float32))}
    backend.load(poisoned, state)
    result = backend.step(further, 0.01)
    assert not result.finite and np.isnan(result.loss)
    after = numbers(backend.weights())
    assert np.isnan(after.pop("norm.weight")).all()
    for name, array in after.items():
        np.testing.assert_array_equal(array, numbers(weights)[name])
    same_bytes(backend.optimizer_state(), state)
    backend.load(weights, state)
    assert backend.step(further, 0.01).finite


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_run_that_goes_on_is_the_same_to_the_bit(precision: str) -> None:
    shape, train = shape_of(dropout=0.2, value_embeddings=True), train_of(precision=precision, optimizer="muon")
    whole, first, second = (mlx_backend.make(shape, train) for _ in range(3))
    batches = steps(6)
    for micro_batches in batches:
        whole.step(micro_batches, 0.01)
    for micro_batches in batches[:3]:
        first.step(micro_batches, 0.01)
    second.load(first.weights(), first.optimizer_state())
    second.set_rng(first.rng())
    for micro_batches in batches[3:]:
        second.step(micro_batches, 0.01)
    same_bytes(second.weights(), whole.weights())
    same_bytes(second.optimizer_state(), whole.optimizer_state())
    assert second.rng() == whole.rng()


def test_what_is_saved_is_left_alone_by_later_steps() -> None:
    backend = mlx_backend.make(shape_of(), train_of())
    micro_batches, further = steps(2)
    backend.step(micro_batches, 0.01)
    saved = {**backend.weights(), **backend.optimizer_state()}
    before = {name: bytes(tensor.data) for name, tensor in saved.items()}
    backend.step(further, 0.01)
    assert {name: bytes(tensor.data) for name, tensor in saved.items()} == before


def test_accumulated_gradients_are_those_of_one_pass() -> None:
    shape = shape_of()
    one, other = (mlx_backend.make(shape, train_of()) for _ in range(2))
    (parts,) = steps(1, (2, 2, 1))
    whole = MicroBatch(*(np.concatenate([part[number] for part in parts]) for number in (0, 1)))
    apart_result, together = one.step(parts, 0.01), other.step([whole], 0.01)
    assert apart_result.loss == pytest.approx(together.loss, rel=1e-6)
    assert apart_result.grad_norm == pytest.approx(together.grad_norm, rel=1e-5)


def test_probing_leaves_no_trace_and_is_remembered(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path))
    monkeypatch.setattr(probe, "GROWING_TOKENS", (12, 1 << 16))
    backend = mlx_backend.make(shape_of(dropout=0.1), train_of())
    before, rng = backend.weights(), backend.rng()
    chance = np.random.default_rng(0)
    asked: list[int] = []

    def batch(count: int) -> MicroBatch:
        asked.append(count)
        return rows(chance, count)

    choices = backend.probe(batch, 8)
    assert asked and 8 % choices["micro_batch"] == 0 and choices["seconds_per_step"] > 0
    assert choices["backend"] == "mlx" and choices["compile"] is False and choices["matmul_flops"] > 0
    same_bytes(backend.weights(), before)
    assert backend.rng() == rng
    asked.clear()
    again = mlx_backend.make(shape_of(dropout=0.1), train_of()).probe(batch, 8)
    assert again["micro_batch"] == choices["micro_batch"] and asked == []
    replayed = mlx_backend.make(shape_of(dropout=0.1), train_of(), choices=choices).probe(batch, 8)
    assert replayed == choices and asked == []


def test_bad_input_is_one_sentence() -> None:
    backend = mlx_backend.make(shape_of(), train_of())
    weights, state = backend.weights(), backend.optimizer_state()
    with pytest.raises(CheckpointError, match="is missing"):
        backend.load(weights, {name: one for name, one in state.items() if name != "first.norm.weight"})
    with pytest.raises(CheckpointError, match=r"first.norm.weight is of shape \[3\], not \[32\]"):
        backend.load(weights, {**state, "first.norm.weight": Tensor.of("F32", (3,), np.zeros(3, np.float32))})
    with pytest.raises(CheckpointError, match="the weights lack norm.weight"):
        backend.load({name: one for name, one in weights.items() if name != "norm.weight"}, state)
    with pytest.raises(CheckpointError, match="'1:x' is no state of dropout"):
        backend.set_rng({"dropout": "1:x"})
    if not mx.metal.is_available():
        with pytest.raises(UsageError, match='device="mps": there is no Metal here'):
            mlx_backend.make(shape_of(), train_of(device="mps"))


def test_what_does_not_fit_says_what_would(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path))
    backend = mlx_backend.make(shape_of(), train_of())
    assert not out_of_memory(RuntimeError("[matmul] Last dimension of first input"))
    full = RuntimeError("[malloc] Unable to allocate 99999999999 bytes.")
    assert out_of_memory(full)

    def fails(*given: Any) -> Any:
        raise full

    monkeypatch.setattr(backend, "_add", fails)
    batch = rows(np.random.default_rng(0), 8)
    for way in (lambda: backend.step([batch], 0.01), lambda: backend.probe(lambda count: batch, 8)):
        with pytest.raises(PylmError, match="a micro-batch of 8 does not fit .*, .* at most in use") as caught:
            way()
        hint = in_options(str(caught.value.marked[1]))
        assert hint.startswith("--micro-batch auto finds what fits, 4 may; --activation-checkpointing needs less, or")


def test_a_compiled_step_is_the_plain_one() -> None:
    """One layer: on a CPU MLX has every fused piece of it made by a C++ compiler."""
    shape, train = shape_of(dropout=0.2, n_layers=1), train_of()
    plain = mlx_backend.make(shape, train)
    compiled = mlx_backend.make(shape, train.model_copy(update={"compile": True}))
    assert compiled.compiled and not plain.compiled
    for micro_batches in steps(3, packed=True):
        one, other = plain.step(micro_batches, 0.01), compiled.step(micro_batches, 0.01)
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
    expected = numbers(plain.weights())
    for name, array in numbers(compiled.weights()).items():
        assert apart(array, expected[name]) < 1e-4, name
