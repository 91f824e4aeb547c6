"""What is frozen stays to the bit and costs no moments; what learns does it as in a plain loop of torch's AdamW."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pylm.config.schema import Model, Train
from pylm.config.shape import complete
from pylm.errors import ConfigError
from pylm.training.backend import MicroBatch
from pylm.training.trained import Trained, trained_of
from tests.support.plain_llama import PlainLlama, Recipe

VOCABULARY, CONTEXT, NEW = 97, 12, range(90, 93)


def shape(**fields: Any) -> Model:
    return complete(Model(n_layers=2, n_heads=2, d_model=32, context_length=CONTEXT, **fields), VOCABULARY)


def backend(name: str, trained: Trained, **train: Any) -> Any:
    settings = Train.model_validate({"precision": "fp32", "device": "cpu", "compile": False, **train})
    if name == "mlx":
        pytest.importorskip("mlx.core")
        from pylm.training.mlx_backend import make
    else:
        from pylm.training.torch_backend import make
    made = make(shape(), settings, trained=trained)
    assert made.name == name
    return made


def batches(count: int) -> list[MicroBatch]:
    chance = np.random.default_rng(4)
    drawn = [(chance.random((6, CONTEXT + 1)) ** 0.5 * VOCABULARY).astype(np.int64) for _ in range(count)]
    return [MicroBatch(ids[:, :-1].copy(), ids[:, 1:].copy()) for ids in drawn]


def arrays(backend: Any) -> dict[str, np.ndarray]:
    return {
        name: np.frombuffer(one.data, np.float32).reshape(one.shape).copy() for name, one in backend.weights().items()
    }


class Plain(PlainLlama):
    """The plain model with parts of it left alone, and rows of its table that are not."""

    def __init__(self, weights: dict[str, np.ndarray], frozen: frozenset[str], new: range | None) -> None:
        super().__init__({name: torch.from_numpy(one) for name, one in weights.items()}, Recipe(2, 2, 9, 1e-3, 0))
        self.table, self.new = torch.from_numpy(weights["embed.weight"]), new
        for name in frozen:
            self.w[name].requires_grad_(False)
        if new is not None and "embed.weight" in frozen:
            self.w["new"] = self.table[new.start : new.stop].clone().requires_grad_()
            self.optimizer.param_groups[0]["params"].append(self.w["new"])

    def loss(self, idx: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if "new" in self.w:
            assert self.new is not None
            whole = torch.cat([self.table[: self.new.start], self.w["new"], self.table[self.new.stop :]])
            kept, self.w["embed.weight"] = self.w["embed.weight"], whole
            try:
                return super().loss(idx, targets)
            finally:
                self.w["embed.weight"] = kept
        return super().loss(idx, targets)


@pytest.mark.parametrize("name", ["torch", "mlx"])
@pytest.mark.parametrize(
    ("freeze", "new"),
    [(("embeddings",), None), (("embeddings,layers:0",), NEW), (("layers:1", "norms"), NEW), ((), NEW)],
)
def test_it_is_a_plain_loop_in_which_the_rest_is_left_alone(name: str, freeze: tuple[str, ...], new: Any) -> None:
    ours = backend(name, trained_of(shape(), freeze, new))
    before = arrays(ours)
    frozen = trained_of(shape(), freeze, new).frozen
    plain = Plain(before, frozen, new)
    for batch in batches(8):
        loss, norm = plain.step(batch.inputs, batch.targets, 3e-3)
        found = ours.step([batch], 3e-3)
        assert found.loss == pytest.approx(loss, abs=2e-5) and found.grad_norm == pytest.approx(norm, rel=1e-3)
    after = arrays(ours)
    for tensor, value in after.items():
        same = (value == before[tensor]).all(axis=tuple(range(1, value.ndim)))
        if tensor not in frozen:
            assert not same.all(), tensor
        elif tensor == "embed.weight" and new is not None:
            assert [row for row in range(VOCABULARY) if not same[row]] == list(new)
            np.testing.assert_allclose(value[new.start : new.stop], plain.w["new"].detach(), rtol=1e-3, atol=2e-4)
        else:
            assert same.all(), tensor
        if tensor not in frozen:
            np.testing.assert_allclose(value, plain.w[tensor].detach(), rtol=1e-3, atol=2e-4)
    moments = {key: one.shape for key, one in ours.optimizer_state().items()}
    for tensor in before:
        rows = ours_rows(frozen, new, tensor, len(before[tensor]))
        assert (f"first.{tensor}" in moments) == (rows > 0)
        assert rows == 0 or moments[f"first.{tensor}"][0] == rows


def ours_rows(frozen: frozenset[str], new: Any, tensor: str, all_rows: int) -> int:
    if tensor not in frozen:
        return all_rows
    return len(new) if new is not None and tensor == "embed.weight" else 0


@pytest.mark.parametrize("name", ["torch", "mlx"])
@pytest.mark.parametrize("settings", [{}, {"precision": "bf16", "average": "ema"}, {"optimizer": "muon"}])
def test_one_that_goes_on_is_the_one_that_went_on(name: str, settings: dict[str, Any]) -> None:
    trained = trained_of(shape(), ("embeddings", "layers:0"), NEW)
    whole, part = backend(name, trained, **settings), backend(name, trained, **settings)
    for batch in batches(3):
        for each in (whole, part):
            each.step([batch], 1e-3)
            each.average(0.3)
    other = backend(name, trained, seed=5, **settings)
    other.load(part.weights(), part.optimizer_state())
    other.load_average(part.average_weights())
    for batch in batches(2):
        for each in (whole, other):
            each.step([batch], 1e-3)
            each.average(0.3)
    for taken in ("weights", "optimizer_state", "average_weights"):
        mine, theirs = getattr(whole, taken)(), getattr(other, taken)()
        assert {key: bytes(one.data) for key, one in mine.items()} == {k: bytes(one.data) for k, one in theirs.items()}
    with whole.averaged():
        averaged = whole.logits([1, 2, 91])
    assert np.abs(averaged - whole.logits([1, 2, 91])).max() > 0


def test_words_name_parts_of_the_model() -> None:
    untied = shape(tied=False, position="learned", qk_norm=False, value_embeddings=True)
    assert trained_of(untied, ("embeddings",), None).frozen == {
        "embed.weight", "position.weight", "blocks.1.attention.value.weight",
    }  # fmt: skip
    assert trained_of(untied, ("head",), None).frozen == {"head.weight"}
    norms = trained_of(shape(qk_norm=True), ("norms",), None).frozen
    kinds = ("attention.norm", "attention.q_norm", "attention.k_norm", "mlp.norm")
    assert norms == {"norm.weight", *(f"blocks.{layer}.{kind}.weight" for layer in (0, 1) for kind in kinds)}
    both = trained_of(shape(), ("layers:0-1",), None).frozen
    assert both == {name for name in arrays(backend("torch", Trained())) if name.startswith("blocks.")}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("head", "freeze head: the head is the table of embeddings here"),
        ("layers:1-2", "freeze layers:1-2: the model has layers from 0 to 1"),
        ("layers:1-0", "freeze layers:1-0: the model has layers from 0 to 1"),
        ("layers", "freeze layers: there is no such part of a model"),
        ("embeddings,layers:0-1,norms", "leaves nothing that learns"),
    ],
)
def test_what_is_no_part_of_it_is_refused(word: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        trained_of(shape(), (word,), None)


def test_norms_that_learn_nothing_are_not_frozen() -> None:
    with pytest.raises(ConfigError, match="freeze norms: the norms of this model learn nothing"):
        trained_of(shape(norm_gain=False), ["norms"], None)
