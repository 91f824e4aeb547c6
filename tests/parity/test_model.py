"""The MLX model against the torch one, field by field of the configuration: logits, loss, all gradients, fp32."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch

from pylm.config.schema import Model as Shape
from pylm.errors import CheckpointError, UsageError
from pylm.model import masks, parameters
from pylm.model.mlx import Model as MlxModel
from pylm.model.torch import Model as TorchModel
from tests.parity.pair import (
    BASE,
    VOCABULARY,
    apart,
    batch,
    both,
    mlx_gradients,
    random_weights,
    shape_of,
    to_mlx,
    torch_gradients,
)

BOUND = 1e-5
# Every field of the shape, with what it is set to and what the effect needs beside it; a new field needs a line here.
SET: dict[str, dict[str, Any]] = {
    "n_layers": {"n_layers": 3},
    "n_heads": {"n_heads": 2},
    "n_kv_heads": {"n_kv_heads": 2},
    "d_model": {"d_model": 48},
    "head_dim": {"head_dim": 12},
    "rope_scaling": {"rope_scaling": {"type": "yarn", "factor": 2.0, "original_max_positions": 6.0}},
    "attention_bias": {"attention_bias": "qkv"},
    "d_ff": {"d_ff": 40},
    "vocab_size": {"vocab_size": 64},
    "context_length": {"context_length": 17},
    "norm": {"norm": "layernorm"},
    "norm_eps": {"norm_eps": 0.3},
    "norm_gain": {"norm_gain": False},
    "embed_norm": {"embed_norm": True},
    "mlp": {"mlp": "relu2"},
    "position": {"position": "none"},
    "rope_theta": {"rope_theta": 30.0},
    "qk_norm": {"qk_norm": True},
    "bias": {"bias": True},
    "tied": {"tied": False},
    "dropout": {"dropout": 0.25},
    "window": {"window": 4},
    "attention_softcap": {"attention_softcap": 1.5},
    "logit_softcap": {"logit_softcap": 2.0},
    "value_embeddings": {"value_embeddings": True},
    "residual_lambdas": {"residual_lambdas": True},
    "attention": {"attention": "reference"},
    "init_std": {"init_std": 0.1},
    "zero_init": {"zero_init": True, "tied": False},
}
# and what is worth trying together
TOGETHER: dict[str, dict[str, Any]] = {
    "gpt2": {"norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True},
    "layernorm without bias": {"norm": "layernorm", "mlp": "gelu", "position": "learned"},
    "qwen3": {"qk_norm": True, "n_kv_heads": 1, "tied": False},
    "qk_norm without rope": {"qk_norm": True, "position": "none", "value_embeddings": True},
    "speed": {"value_embeddings": True, "residual_lambdas": True, "qk_norm": True, "logit_softcap": 3.0, "mlp": "relu2",
              "zero_init": True, "tied": False, "n_layers": 3},
    "nanochat": {"mlp": "relu2", "qk_norm": True, "norm_gain": False, "embed_norm": True, "tied": False,
                 "logit_softcap": 3.0, "n_kv_heads": 1},
    "no gains, no positions": {"qk_norm": True, "norm_gain": False, "position": "none"},
    "window and caps": {"window": 3, "attention_softcap": 2.0, "n_kv_heads": 2},
    "sdpa": {"attention": "sdpa", "window": 5},
}  # fmt: skip
# Fields that decide what a model begins as, and fields that choose how the same is computed
BEGINNINGS, WAYS = {"init_std", "zero_init"}, {"attention"}
DOCUMENTS = [None, torch.tensor([0, 5, 12, 14, 24, 36], dtype=torch.int32)]


def test_every_field_of_the_configuration_is_walked() -> None:
    assert SET.keys() == Shape.model_fields.keys()
    for field, given in SET.items():
        assert getattr(shape_of(**given), field) != getattr(shape_of(), field), field


@pytest.mark.parametrize("packed", [False, True], ids=["", "packed"])
@pytest.mark.parametrize("given", [{}, *SET.values(), *TOGETHER.values()], ids=["base", *SET, *TOGETHER])
def test_logits_loss_and_gradients_are_torchs(given: dict[str, Any], packed: bool) -> None:
    shape = shape_of(**given)
    ours, other = both(shape, random_weights(shape))
    idx, targets = batch(shape)
    cu_seqlens = DOCUMENTS[1] if packed and shape.context_length == BASE["context_length"] else None
    ours.eval()
    logits, loss = ours(idx, targets, cu_seqlens=cu_seqlens)
    found, mean = other(idx.numpy(), targets.numpy(), cu_seqlens=None if cu_seqlens is None else cu_seqlens.numpy())
    assert found.dtype == mx.float32 and apart(found, logits.detach()) < BOUND
    assert float(mean) == pytest.approx(float(loss.detach()), rel=BOUND)
    ours_loss, ours_gradients = torch_gradients(ours, idx, targets, cu_seqlens)
    other_loss, other_gradients = mlx_gradients(other, idx, targets, cu_seqlens)
    assert other_loss == pytest.approx(ours_loss, rel=BOUND)
    assert other_gradients.keys() == ours_gradients.keys() == parameters.parameters(shape).keys()
    whole = np.sqrt(sum(float(np.square(gradient).sum()) for gradient in ours_gradients.values()))
    for name, gradient in other_gradients.items():
        # lambdas have the sum of all elements of a stream, whose terms cancel: the floor is for these
        least = 0.01 * whole if "lambdas" in name else 1e-30
        assert apart(gradient, ours_gradients[name], least) < BOUND, name


@pytest.mark.parametrize("field", sorted(SET.keys() - WAYS))
def test_no_field_is_without_effect(field: str) -> None:
    """Set alone, each changes what both say, so an agreement above is not that of two that ignore it."""
    plain = {key: value for key, value in SET[field].items() if key != field}
    before, after = shape_of(**plain), shape_of(**SET[field])
    if field in BEGINNINGS:
        pairs = [(parameters.draw(before, 5), parameters.draw(after, 5))]
        pairs.append(tuple(_drawn_by_torch(shape, 5) for shape in (before, after)))  # type: ignore[arg-type]
        for one, other in pairs:
            assert any(apart(one[name], other[name]) > 0.01 for name in one)
        return
    if field == "dropout":  # test_dropout.py and the ten steps of test_training.py
        return
    said = []
    for shape in (before, after):
        weights = random_weights(shape_of(**{**SET[field], **plain}))
        sizes = parameters.parameters(shape)
        others = random_weights(shape)
        weights = {name: weights[name] if name in weights and weights[name].shape == one.shape else others[name]
                   for name, one in sizes.items()}  # fmt: skip
        ours, other = both(shape, weights)
        idx, _ = batch(shape_of(vocab_size=64), rows=2)
        if field == "context_length":
            idx = torch.cat((idx, idx[:, : shape.context_length - idx.shape[1]]), 1)
        said.append((ours(idx).detach().numpy(), np.array(other(idx.numpy()))))
    for plain_one, changed in zip(*said, strict=True):
        assert plain_one.shape != changed.shape or apart(changed, plain_one) > 1e-3


def _drawn_by_torch(shape: Shape, seed: int) -> dict[str, Any]:
    model = TorchModel(shape, generator=torch.Generator().manual_seed(seed))
    return {name: tensor.numpy() for name, tensor in model.weights().items()}


@pytest.mark.parametrize("given", [{}, *SET.values(), *TOGETHER.values()], ids=["base", *SET, *TOGETHER])
def test_a_seed_draws_the_same_weights(given: dict[str, Any]) -> None:
    shape = shape_of(**given)
    theirs, ours = _drawn_by_torch(shape, 1337), parameters.draw(shape, 1337)
    assert theirs.keys() == ours.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == np.float32 and tensor.shape == theirs[name].shape
        np.testing.assert_allclose(tensor, theirs[name], atol=3e-7 * max(1.0, float(np.abs(tensor).max())), rtol=0)


def test_tied_weights_are_one() -> None:
    shape = shape_of()
    weights = to_mlx(random_weights(shape))
    model = MlxModel(shape, weights)
    assert "head.weight" not in model.weights
    idx, targets = batch(shape)
    _, gradients = mlx_gradients(model, idx, targets, None)
    looked_up = np.zeros(VOCABULARY, bool)
    looked_up[idx.unique().numpy()] = True
    unseen = gradients["embed.weight"][~looked_up]
    assert len(unseen) and np.abs(unseen).max() > 0  # rows that no token reads are moved by the head


def test_blocks_that_are_computed_again_have_the_same_gradients() -> None:
    shape = shape_of(dropout=0.3, value_embeddings=True, qk_norm=True)
    weights = to_mlx(random_weights(shape))
    idx, targets = batch(shape)
    keys = mx.array(np.array(masks.Masks(3).keys(2 * 2 + 1), np.uint64))
    plain, again = (
        mlx_gradients(MlxModel(shape, weights, checkpoint=how), idx, targets, None, keys) for how in (False, True)
    )
    assert plain[0] == again[0]
    for name, gradient in plain[1].items():
        np.testing.assert_array_equal(gradient, again[1][name])


def test_a_loss_in_pieces_is_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    from pylm.model.mlx import loss

    shape = shape_of(logit_softcap=2.0)
    model = MlxModel(shape, to_mlx(random_weights(shape)))
    idx, targets = batch(shape)
    whole = mlx_gradients(model, idx, targets, None)
    monkeypatch.setattr(loss, "CHUNK_BYTES", 4 * VOCABULARY * 7)
    pieces = mlx_gradients(model, idx, targets, None)
    assert pieces[0] == pytest.approx(whole[0], rel=1e-6)
    for name, gradient in whole[1].items():
        assert apart(pieces[1][name], gradient) < 2e-6, name


def test_the_factor_of_the_loss_scales_it_and_its_gradients() -> None:
    shape = shape_of()
    model = MlxModel(shape, to_mlx(random_weights(shape)))
    tokens, targets = (mx.array(one.numpy()) for one in batch(shape))

    def objective(weights: Any, factor: float, outside: float) -> Any:
        return outside * model.loss(weights, tokens, targets, factor=mx.array(factor))

    one, gradients = mx.value_and_grad(objective)(model.weights, 1.0, 1.0)
    for factor, outside in ((8.0, 1.0), (2.0, 4.0), (1.0, 8.0)):
        more, scaled = mx.value_and_grad(objective)(model.weights, factor, outside)
        assert float(more) == pytest.approx(8 * float(one), rel=1e-6)
        for name, gradient in gradients.items():
            assert apart(scaled[name], 8 * gradient) < 1e-6


def test_bad_input_is_one_sentence() -> None:
    shape = shape_of()
    weights = to_mlx(random_weights(shape))
    model = MlxModel(shape, weights)
    with pytest.raises(UsageError, match="13 tokens are more than the model's context_length 12"):
        model([[0] * 13])
    for tokens in ([[0, 70]], [[-1, 3]]):
        with pytest.raises(UsageError, match="leave the vocabulary of 70"):
            model(tokens)
    with pytest.raises(CheckpointError, match="the weights lack norm.weight"):
        MlxModel(shape, {name: one for name, one in weights.items() if name != "norm.weight"})
    with pytest.raises(CheckpointError, match="the model has no head.weight"):
        MlxModel(shape, {**weights, "head.weight": weights["embed.weight"]})
    with pytest.raises(CheckpointError, match=r"embed.weight is of shape \[70, 32\], the model's is \[64, 32\]"):
        MlxModel(shape_of(vocab_size=64), weights)
    with pytest.raises(UsageError, match="has no soft cap"):
        MlxModel(shape_of(attention="sdpa", attention_softcap=2.0), weights)([[1, 2]])
    if not mx.metal.is_available():
        with pytest.raises(UsageError, match="there is no Metal here"):
            MlxModel(shape_of(attention="fused"), weights)
