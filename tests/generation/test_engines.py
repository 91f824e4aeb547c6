"""Both engines against the model without a cache: chunks, batches of different lengths, windows, caps."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from pylm.generation import cached_engine
from pylm.generation.branches import Branches
from pylm.generation.engine import Engine
from pylm.generation.native_engine import NativeEngine, why_not
from pylm.generation.torch_engine import TorchEngine, UncachedEngine
from pylm.model.torch import Model
from tests.generation.small import CONTEXT, small_model, stored, stored_in

VOCABULARY = 300
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "gpt2": {"position": "learned", "norm": "layernorm", "mlp": "gelu", "bias": True, "n_kv_heads": 4},
    "window": {"window": 7},
    "softcap": {"attention_softcap": 5.0, "n_kv_heads": 1},
    "qk_norm": {"qk_norm": True, "tied": False},
    "window and softcap": {"window": 5, "attention_softcap": 3.0},
    "wide heads": {"head_dim": 24, "qk_norm": True},
    "narrow heads, biases of attention": {"head_dim": 8, "attention_bias": "all"},
    "nanochat": {
        "mlp": "relu2",
        "qk_norm": True,
        "norm_gain": False,
        "embed_norm": True,
        "tied": False,
        "logit_softcap": 15.0,
    },
    "learned positions, then a norm": {"position": "learned", "norm": "layernorm", "mlp": "gelu", "embed_norm": True},
    "qwen2": {"attention_bias": "qkv"},
    "llama 3": {
        "rope_theta": 300.0,
        "rope_scaling": {"type": "llama3", "factor": 4.0, "original_max_positions": 12.0, "high_freq_factor": 4.0},
    },
    "yarn": {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_positions": 12.0}},
}


ENGINES = ["torch", "native", "mlx"]


def engine_of(kind: str, model: Model) -> Engine:
    if kind == "mlx":
        pytest.importorskip("mlx.core")
        from pylm.generation.mlx_engine import MlxEngine
        from pylm.model.mlx import Model as MlxModel
        from pylm.model.mlx import from_stored

        return MlxEngine(MlxModel(model.shape, from_stored(stored(model))))
    return TorchEngine(model) if kind == "torch" else NativeEngine(model.shape, stored(model))


def ids(chance: random.Random, length: int) -> list[int]:
    return [chance.randrange(VOCABULARY) for _ in range(length)]


def oracle(model: torch.nn.Module, sequence: list[int]) -> np.ndarray[Any, Any]:
    with torch.inference_mode():
        logits: np.ndarray[Any, Any] = model(torch.tensor([sequence]))[0].numpy()
    return logits


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("name", SHAPES)
def test_any_way_of_reading_gives_the_logits_of_reading_at_once(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached_engine, "PREFILL_CHUNK", 5)
    chance = random.Random(name)
    model = small_model(VOCABULARY, **SHAPES[name])
    engine = engine_of(kind, model)
    rows = [ids(chance, length) for length in (13, 1, 21)]
    cache = engine.cache(len(rows), CONTEXT)
    for number, row in enumerate(rows):
        np.testing.assert_allclose(engine.prefill(row, cache, number), oracle(model, row)[-1], atol=1e-4, rtol=0)
    for step in range(12):
        new = ids(chance, len(rows))
        logits = engine.decode(new, cache)
        for number, (row, token) in enumerate(zip(rows, new, strict=True)):
            row.append(token)
            np.testing.assert_allclose(logits[number], oracle(model, row)[-1], atol=1e-4, rtol=0)
        if step == 4:  # one leaves, one is cut back, one becomes a copy
            cache.keep([2, 0])
            rows = [rows[2], rows[0]]
            cache.truncate(0, 9)
            rows[0] = rows[0][:9]
        if step == 8:
            cache.copy(0, 1)
            rows[1] = list(rows[0])
    assert [list(row) for row in cache.ids] == rows


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("name", SHAPES)
def test_verify_gives_the_logits_after_each_token(name: str, kind: str) -> None:
    chance = random.Random(name)
    model = small_model(VOCABULARY, **SHAPES[name])
    engine = engine_of(kind, model)
    start, rest = ids(chance, 11), ids(chance, 9)
    cache = engine.cache(1, CONTEXT)
    engine.prefill(start, cache, 0)
    np.testing.assert_allclose(engine.verify(rest, cache), oracle(model, start + rest)[11:], atol=1e-4, rtol=0)


def test_what_is_longer_than_a_pass_is_read_in_several() -> None:
    model = small_model(VOCABULARY, context_length=1200)
    engine = NativeEngine(model.shape, stored(model))
    sequence = ids(random.Random(6), 1150)  # a pass is 1,024 tokens at a beginning, 512 later
    wanted, cache = oracle(model, sequence), engine.cache(1, 1200)
    np.testing.assert_allclose(engine.verify(sequence, cache), wanted, atol=1e-4, rtol=0)
    cache.truncate(0, 0)
    engine.prefill(sequence[:20], cache, 0)
    np.testing.assert_allclose(engine.verify(sequence[20:], cache), wanted[20:], atol=1e-4, rtol=0)
    count = len(sequence) - 1  # a single branch is read like a beginning, one with a twig is not
    nats = -torch.log_softmax(torch.from_numpy(wanted[:-1]), -1)[torch.arange(count), sequence[1:]].numpy()
    for twig in (0, 1):
        branches = Branches(
            [*sequence[:-1], *sequence[-1:] * twig], [*range(-1, count - 1), *[5] * twig], [*range(count)], sequence[1:]
        )
        np.testing.assert_allclose(engine.score(branches, None).nats, nats, atol=1e-4, rtol=0)


def test_without_a_cache_is_the_model_itself() -> None:
    chance = random.Random(3)
    model = small_model(VOCABULARY)
    engine = UncachedEngine(model)
    cache = engine.cache(2, CONTEXT)
    one, other = ids(chance, 6), ids(chance, 9)
    engine.prefill(one, cache, 0)
    engine.prefill(other, cache, 1)
    logits = engine.decode([4, 5], cache)
    np.testing.assert_array_equal(logits[0], oracle(model, [*one, 4])[-1])
    np.testing.assert_array_equal(logits[1], oracle(model, [*other, 5])[-1])


def test_the_native_engine_says_what_it_does_not_compute() -> None:
    assert why_not(small_model(VOCABULARY).shape) is None
    assert why_not(small_model(VOCABULARY, value_embeddings=True).shape) == "it has value embeddings"
    assert why_not(small_model(VOCABULARY, residual_lambdas=True).shape) == "it has residual lambdas"


@pytest.mark.parametrize(("keep", "bound"), [("bf16", 0.02), ("int8", 0.03), ("int4", 0.35)])
def test_fewer_bits_change_the_logits_a_little(keep: str, bound: float) -> None:
    chance = random.Random(4)
    model = small_model(VOCABULARY, d_model=256, init_std=0.005)  # large weights would make much of a little
    engine = NativeEngine(model.shape, stored(model), keep)
    sequence = ids(chance, 30)
    logits = engine.prefill(sequence, engine.cache(1, CONTEXT), 0)
    wanted = oracle(model, sequence)[-1]
    error = np.linalg.norm(logits - wanted) / np.linalg.norm(wanted)
    assert 0 < error < bound and engine.weight_bytes < NativeEngine(model.shape, stored(model)).weight_bytes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fp32_is_fp32_for_weights_that_are_stored_in_16_bits(dtype: torch.dtype) -> None:
    chance = random.Random(5)
    model = small_model(VOCABULARY, tied=False)
    halves = stored_in(dtype, model)
    for keep in ("auto", "fp32"):
        engine = NativeEngine(model.shape, halves, keep)
        assert engine.name.startswith("C++ engine, fp32, ")
        for length in (4, 9, 20, 40):
            sequence = ids(chance, length)
            logits = engine.prefill(sequence, engine.cache(1, CONTEXT), 0)
            np.testing.assert_allclose(logits, oracle(model, sequence)[-1], atol=1e-4, rtol=0)
        sequence, rows = ids(chance, 20), 12
        alone, batch = engine.cache(1, CONTEXT), engine.cache(rows, CONTEXT)
        engine.prefill(sequence, alone, 0)
        for row in range(rows):
            engine.prefill(sequence, batch, row)
        for token in ids(chance, 8):
            one, many = engine.decode([token], alone), engine.decode([token] * rows, batch)
            np.testing.assert_allclose(many, np.broadcast_to(one, many.shape), atol=1e-4, rtol=0)
    assert NativeEngine(model.shape, halves, "bf16").name.startswith("C++ engine, bf16, ")
