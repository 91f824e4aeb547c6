"""What is counted before a run: operations against torch's own counter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pylm.config.schema import Finetune
from pylm.config.schema import Model as Shape
from pylm.config.shape import complete, count_parameters
from pylm.model.torch import Model
from pylm.model.torch_lora import adapt
from pylm.training.plan import flops_per_token
from pylm.training.trained import trained_by

CONTEXT, WIDTH, LAYERS, VOCABULARY = 24, 64, 3, 128


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tied": False},
        {"position": "learned", "mlp": "gelu", "norm": "layernorm", "bias": True},
        {"value_embeddings": True, "residual_lambdas": True, "qk_norm": True, "tied": False, "mlp": "relu2"},
        {"n_kv_heads": 2, "value_embeddings": True},
    ],
    ids=str,
)
def test_operations_are_those_that_torch_counts(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    # the reference multiplies whole T × T matrices, in products that torch counts
    monkeypatch.setenv("PYLM_KERNELS", "reference")
    shape = complete(
        Shape(n_layers=LAYERS, n_heads=4, d_model=WIDTH, context_length=CONTEXT, **fields), VOCABULARY
    )  # fmt: skip
    model = Model(shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, CONTEXT, dtype=torch.int64))
    # backward takes two products for each of the forward's; causal attention needs half of what was multiplied
    expected = 3 * counter.get_total_flops() / CONTEXT - 6 * LAYERS * WIDTH * CONTEXT
    assert flops_per_token(shape) == pytest.approx(expected, rel=1e-9)


def test_operations_of_adapters_are_those_that_torch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_KERNELS", "reference")
    shape = complete(Shape(n_layers=LAYERS, n_heads=4, d_model=WIDTH, context_length=CONTEXT), VOCABULARY)
    trained = trained_by(shape, Finetune(method="lora", lora_rank=4), None)
    assert trained.adapter is not None
    model = Model(shape)
    adapt(model, trained.adapter, seed=1)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name)
    idx = torch.zeros(1, CONTEXT, dtype=torch.int64)
    # torch counts products that are added to a new tensor, and not those that are added in place
    in_place = {torch.ops.aten.addmm_: lambda own, one, other, **_: 2 * one[0] * one[1] * other[1]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        model.loss(idx, idx).backward()
    # nothing learns beneath the first linear, which is asked for no gradient of its input
    first = 2 * WIDTH * 3 * WIDTH + 2 * 4 * WIDTH
    expected = counter.get_total_flops() / CONTEXT + first - 6 * LAYERS * WIDTH * CONTEXT
    assert flops_per_token(shape, trained.frozen, trained.adapter.sizes(shape)) == pytest.approx(expected, rel=1e-9)


def test_value_embeddings_multiply_nothing() -> None:
    plain = Shape(n_layers=LAYERS, n_heads=4, d_model=WIDTH, context_length=CONTEXT)
    valued = complete(plain.model_copy(update={"value_embeddings": True}), VOCABULARY)
    assert count_parameters(valued) > count_parameters(complete(plain, VOCABULARY))
    assert flops_per_token(valued) == flops_per_token(complete(plain, VOCABULARY))


@pytest.mark.parametrize("window", [1, 2, 7, CONTEXT, 10 * CONTEXT, None])
def test_a_window_counts_the_keys_that_are_seen(window: int | None) -> None:
    shape = complete(
        Shape(n_layers=1, n_heads=4, d_model=WIDTH, context_length=CONTEXT, window=window), VOCABULARY
    )  # fmt: skip
    full = complete(Shape(n_layers=1, n_heads=4, d_model=WIDTH, context_length=CONTEXT), VOCABULARY)
    rows = range(1, CONTEXT + 1)
    seen = sum(min(row, window or CONTEXT) for row in rows) - len(rows) / 2  # half a key a row: what T² / 2 leaves out
    attention = flops_per_token(shape) - (flops_per_token(full) - 6 * WIDTH * CONTEXT)
    assert attention == pytest.approx(12 * WIDTH * seen / CONTEXT, rel=0.05, abs=12 * WIDTH * 0.5)
