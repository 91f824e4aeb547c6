"""The engine against a decoder written out in float64: shapes, caches, quantised weights, bad input."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pylm import _native
from pylm.errors import PylmError
from tests.native.decoder import GPT2, LLAMA, SHAPES, engine, error, ids_of, reference, weights

shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


@shapes
def test_logits_are_those_of_the_decoder_written_out(shape: dict[str, Any], variant: str) -> None:
    given, ids = weights(shape), ids_of(61)
    expected = reference(shape, given, ids)
    mine = engine(shape, given, threads=2)
    cache = mine.cache()
    assert error(mine.read(ids, cache, every=True), expected) < 1e-5  # one prompt
    assert cache.length == 61
    cache.truncate(5)
    for cut in ((5, 7), (7, 8), (8, 45), (45, 61)):  # in pieces of every kind
        last = mine.read(ids[slice(*cut)], cache)
        assert error(last, expected[cut[1] - 1]) < 1e-5, cut
    cache.truncate(0)
    for n, one in enumerate(ids[:20]):  # and one by one
        assert error(mine.decode([one], [cache])[0], expected[n]) < 1e-5


def test_sequences_in_company_are_those_alone(variant: str) -> None:
    given = weights(LLAMA)
    mine = engine(LLAMA, given, threads=3)
    sequences = [ids_of(n) for n in (1, 30, 300, 2, 7, 90, 14, 3, 5, 11)]
    caches = [mine.cache(400) for _ in sequences]
    for ids, cache in zip(sequences, caches, strict=True):
        if ids[:-1]:
            mine.read(ids[:-1], cache)
    found = mine.decode([ids[-1] for ids in sequences], caches)
    for row, ids in zip(found, sequences, strict=True):
        assert error(row, reference(LLAMA, given, ids)[-1]) < 1e-5
    other = mine.cache(350)
    other.copy(caches[2])
    np.testing.assert_array_equal(mine.decode([5], [other]), mine.decode([5], [caches[2]]))


def test_a_long_prompt_is_read_in_parts() -> None:
    given, ids = weights(LLAMA), ids_of(690)
    mine = engine(LLAMA, given, threads=2)
    assert error(mine.read(ids, mine.cache()), reference(LLAMA, given, ids)[-1]) < 1e-5


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize(("quantize", "bound"), [("bf16", 2e-2), ("int8", 3e-2), ("int4", 0.3)])
@pytest.mark.parametrize("shape", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_quantised_weights(shape: dict[str, Any], quantize: str, bound: float, count: int, variant: str) -> None:
    given, ids = weights(shape), ids_of(60)
    mine = engine(shape, given, quantize=quantize, threads=2)
    cache = mine.cache()
    mine.read(ids[:-count], cache)
    found = mine.read(ids[-count:], cache)
    assert error(found, reference(shape, given, ids)[-1]) < bound
    # rows of quantised weights are filled up to 64, which these narrow models notice
    share = {"bf16": 0.51, "int8": 0.5, "int4": 0.36}[quantize]
    assert mine.weight_bytes < share * engine(shape, given).weight_bytes


@pytest.mark.parametrize(("quantize", "lowest", "highest"), [("int8", -127, 127), ("int4", -8, 7)])
def test_quantised_products_are_exact_for_the_rounded_weights(
    quantize: str, lowest: int, highest: int, variant: str
) -> None:
    """A model whose weights are whole numbers of steps loses nothing to quantisation."""
    shape = LLAMA | {"n_layers": 1, "d_model": 64, "d_ff": 128}
    generator = torch.Generator().manual_seed(7)
    given = {}
    for name, x in weights(shape).items():
        if x.dim() == 2:
            steps = torch.randint(lowest, highest + 1, x.shape, generator=generator)
            steps.view(-1, 32)[:, 0] = lowest  # so that the scale is found again
            x = steps * 2.0 ** (-8 if quantize == "int8" else -5)
        given[name] = x
    ids = ids_of(9)
    mine = engine(shape, given, quantize=quantize)
    # activations have 14 bits, and bfloat16's 8 in the cache
    assert error(mine.decode(ids[:1], [mine.cache()])[0], reference(shape, given, ids[:1])[0]) < 5e-3


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_no_bit(threads: int) -> None:
    given, ids = weights(GPT2), ids_of(50)
    one, many = engine(GPT2, given, threads=1), engine(GPT2, given, threads=threads)
    np.testing.assert_array_equal(one.read(ids, one.cache()), many.read(ids, many.cache()))
    np.testing.assert_array_equal(one.read(ids[:3], one.cache()), many.read(ids[:3], many.cache()))


def test_bad_input_is_one_sentence() -> None:
    given = weights(GPT2)
    mine, other = engine(GPT2, given), engine(LLAMA, weights(LLAMA))
    cache = mine.cache(10)

    def fails(said: str, call: Any) -> None:
        with pytest.raises(PylmError) as caught:
            call()
        assert said in str(caught.value)

    fails("token 131 is not in the vocabulary of 131", lambda: mine.read([131], cache))
    fails("token -1 is not", lambda: mine.decode([-1], [cache]))
    fails("11 more tokens do not fit: the cache holds 0 of 10", lambda: mine.read(list(range(11)), cache))
    fails("no tokens to read", lambda: mine.read([], cache))
    fails("2 tokens for 1 caches", lambda: mine.decode([1, 2], [cache]))
    fails("the same cache is given twice", lambda: mine.decode([1, 2], [cache, cache]))
    fails("the cache holds 0 tokens, not 1", lambda: cache.truncate(1))
    fails("a cache of 97 tokens, the model's context is 96", lambda: mine.cache(97))
    fails("the cache is of another model", lambda: mine.decode([1], [other.cache()]))
    fails("the cache to copy is of another model", lambda: cache.copy(other.cache()))
    assert cache.length == 0
    for said, change in {
        "quantize is int5": {"quantize": "int5"},
        "mlp is glu": {"mlp": "glu"},
        "3 heads do not divide the width 50": {"d_model": 50},
        "2 heads of keys do not divide 3": {"n_kv_heads": 2},
        "a size of the model is 0": {"n_layers": 0},
        "blocks.2.attention.norm.weight": {"n_layers": 3},
        "the model has no blocks.1.": {"n_layers": 1},
        "embed.weight is of shape [131, 48], the model's is [132, 48]": {"vocab_size": 132},
        "window is -1": {"window": -1},
    }.items():
        fails(said, lambda change=change: engine(GPT2 | change, given))
    fails("is of type float64", lambda: _native.Engine({"embed.weight": np.zeros((131, 48))}, **GPT2))
    fails("is no tensor", lambda: _native.Engine({"embed.weight": 3}, **GPT2))
    for shape in ((2**32, 2**32), (2**62, 3), (-131, -48)):
        vast = SimpleNamespace(dtype="F32", shape=shape, data=b"")
        fails(
            "embed.weight is of a shape that no memory holds",
            lambda vast=vast: _native.Engine({"embed.weight": vast}, **GPT2),
        )
    fails("its memory has gaps", lambda: _native.Engine({"embed.weight": np.zeros((48, 131), np.float32).T}, **GPT2))
    short = SimpleNamespace(dtype="F32", shape=(131, 48), data=b"abc")
    fails("3 bytes do not fit its shape", lambda: _native.Engine({"embed.weight": short}, **GPT2))


def test_random_arguments_never_crash_the_module() -> None:
    generator = np.random.default_rng(3)
    given = {name: x.numpy() for name, x in weights(GPT2).items()}
    odd = [None, -1, 0, 1, 2, 3, 49, 2**31, 2**62, 2**70, 0.5, float("nan"), "rope", True, [1], np.zeros(3)]
    names = [*GPT2, "rope_theta", "qk_norm", "tied", "window", "logit_softcap", "quantize", "threads"]
    survived = 0
    mine = engine(GPT2, weights(GPT2))
    caches: list[Any] = [mine.cache(4), mine.cache(90), engine(LLAMA, weights(LLAMA)).cache(4), None, "cache"]
    for _ in range(300):
        change = {names[generator.integers(len(names))]: odd[generator.integers(len(odd))] for _ in range(2)}
        change.pop("threads", None)  # as many as asked for are started
        ids: Any = [odd[generator.integers(len(odd))] for _ in range(generator.integers(4))]
        picked = [caches[generator.integers(len(caches))] for _ in range(generator.integers(3))]
        for call in (
            lambda change=change: _native.Engine(given, **(GPT2 | change)).cache(),
            lambda ids=ids, picked=picked: mine.decode(ids, picked),
            lambda ids=ids, picked=picked: mine.read(ids, (picked or caches)[0]),
            lambda picked=picked: (picked or caches)[0].truncate(odd[generator.integers(len(odd))]),
        ):
            try:
                call()
                survived += 1
            except (PylmError, TypeError, ValueError, AttributeError, MemoryError):
                pass
    assert survived > 20
