"""Adapters in both backends: steps as in a plain loop over W + s B A, the base as it was, and all of it resumed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pylm.checkpoint import Tensor
from pylm.config.schema import Finetune, Model, Train
from pylm.config.shape import complete
from pylm.errors import CheckpointError, ConfigError
from pylm.model import lora, parameters
from pylm.training.backend import IGNORED, MicroBatch
from pylm.training.trained import Trained, trained_by
from tests.model import plain
from tests.model.test_lora import merged

VOCABULARY, CONTEXT, NEW, LR = 97, 12, range(90, 93), 2e-2
SHAPE = complete(Model(n_layers=2, n_heads=2, d_model=32, context_length=CONTEXT), VOCABULARY)
both = pytest.mark.parametrize("name", ["torch", "mlx"])


def backend(name: str, trained: Trained, **train: Any) -> Any:
    settings = Train.model_validate(
        {"precision": "fp32", "device": "cpu", "compile": False, "grad_clip": 0.0, "weight_decay": 0.0, **train}
    )
    if name == "mlx":
        pytest.importorskip("mlx.core")
        from pylm.training.mlx_backend import make
    else:
        from pylm.training.torch_backend import make
    made = make(SHAPE, settings, trained=trained)
    made.load_base(base())
    return made


def asked(new: range | None = None, **keys: Any) -> Trained:
    return trained_by(SHAPE, Finetune(method="lora", lora_rank=4, lora_alpha=6.0, **keys), new)


def base() -> dict[str, Tensor]:
    drawn = parameters.draw(SHAPE, seed=11)
    return {name: Tensor.of("F32", one.shape, one.reshape(-1)) for name, one in drawn.items()}


def batches(count: int) -> list[MicroBatch]:
    chance = np.random.default_rng(4)
    drawn = [chance.integers(0, VOCABULARY, (6, CONTEXT + 1)) for _ in range(count)]
    found = [MicroBatch(ids[:, :-1].copy(), ids[:, 1:].copy()) for ids in drawn]
    for batch in found:
        batch.targets[chance.random(batch.targets.shape) < 0.5] = IGNORED
    return found


def arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: lora.to_numpy(one).copy() for name, one in tensors.items() if one.dtype == "F32"}


@both
@pytest.mark.parametrize("new", [None, NEW])
def test_steps_are_those_of_a_plain_loop(name: str, new: range | None) -> None:
    trained = asked(new)
    assert trained.adapter is not None
    mine = backend(name, trained)
    begun = arrays(mine.weights())
    assert set(begun) == set(trained.adapter.sizes(SHAPE)) | ({"embed.rows"} if new else set())
    assert trained.saved(SHAPE) == sum(array.size for array in begun.values())
    held = {one: torch.from_numpy(array.copy()).double() for one, array in arrays(base()).items()}
    learning = {one: torch.from_numpy(array).double().requires_grad_() for one, array in begun.items()}
    optimizer = torch.optim.AdamW(learning.values(), lr=LR, betas=mine.train.betas, eps=1e-8, weight_decay=0.0)
    for batch in batches(3):
        table = held["embed.weight"]
        if new:
            table = torch.cat([table[: new.start], learning["embed.rows"], table[new.stop :]])
        factors = {one: tensor for one, tensor in learning.items() if ".lora_" in one}
        whole = merged({**held, "embed.weight": table, **factors}, trained.adapter.scale)
        logits = plain.logits(SHAPE, whole, torch.from_numpy(batch.inputs))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(batch.targets).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        parts = [MicroBatch(batch.inputs[rows], batch.targets[rows]) for rows in (slice(0, 2), slice(2, 6))]
        assert abs(mine.step(parts, LR).loss - loss.item()) < 1e-5
    for one, array in arrays(mine.weights()).items():
        assert np.abs(array - learning[one].detach().numpy()).max() < 2e-4, one
    assert set(mine.optimizer_state()) == {"step"} | {
        f"{moment}.{lora.in_model(one)}" for moment in ("first", "second") for one in begun
    }


@both
def test_it_goes_on_to_the_bit_on_a_base_that_stayed(name: str) -> None:
    one, two, three = batches(3)
    whole = backend(name, asked(NEW, lora_dropout=0.25))
    for batch in (one, two):
        whole.step([batch], LR)
    weights, state, rng = whole.weights(), whole.optimizer_state(), whole.rng()
    again = backend(name, asked(NEW, lora_dropout=0.25), seed=5)
    again.load(weights, state)
    again.set_rng(rng)
    assert again.step([three], LR) == whole.step([three], LR)
    for here, there in ((again.weights(), whole.weights()), (again.optimizer_state(), whole.optimizer_state())):
        assert {key: bytes(tensor.data) for key, tensor in here.items()} == {
            key: bytes(tensor.data) for key, tensor in there.items()
        }
    with pytest.raises(CheckpointError, match="lack"):
        again.load({key: one for key, one in weights.items() if "layers" not in key and "blocks.1" not in key}, None)


def test_mlx_drops_what_torch_drops() -> None:
    pytest.importorskip("mlx.core")
    mine, theirs = (backend(name, asked(lora_dropout=0.5, lora_targets=("qkv", "down"))) for name in ("torch", "mlx"))
    for batch in batches(3):
        assert abs(mine.step([batch], LR).loss - theirs.step([batch], LR).loss) < 1e-5


@both
def test_bf16_steps_adapters_of_fp32(name: str) -> None:
    narrow, exact = backend(name, asked(), precision="bf16"), backend(name, asked())
    (batch,) = batches(1)
    first = narrow.step([batch], LR).loss, exact.step([batch], LR).loss
    assert abs(first[0] - first[1]) < 0.05
    for _ in range(8):
        last = narrow.step([batch], LR)
    assert last.loss < first[0] - 0.3
    assert all(tensor.dtype == "F32" for tensor in narrow.weights().values())


@both
def test_an_average_is_of_the_adapter(name: str) -> None:
    mine = backend(name, asked(NEW))
    batch = batches(1)[0]
    mine.average(1.0)
    mine.step([batch], LR)
    before = mine.loss(batch).loss
    with mine.averaged():
        assert abs(mine.loss(batch).loss - before) > 1e-3
    assert mine.loss(batch).loss == before
    held = mine.average_weights()
    assert held.keys() == mine.weights().keys()
    mine.load_average(held)


def test_what_cannot_be_asked_together() -> None:
    with pytest.raises(ConfigError, match="freeze"):
        trained_by(SHAPE, Finetune(method="lora", freeze=("embeddings",)), None)
