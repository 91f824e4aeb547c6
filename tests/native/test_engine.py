"""The engine against a decoder written out in float64: shapes, caches, quantised weights, bad input."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pylm import _native
from pylm.errors import PylmError

GPT2: dict[str, Any] = {
    "n_layers": 2, "n_heads": 3, "n_kv_heads": 3, "d_model": 48, "d_ff": 100, "vocab_size": 131, "context_length": 96,
    "norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True,
}  # fmt: skip
LLAMA: dict[str, Any] = {
    "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_model": 72, "d_ff": 65, "vocab_size": 130, "context_length": 700,
    "rope_theta": 500.0, "tied": False,
}  # fmt: skip
SHAPES = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "odd": LLAMA | {"mlp": "relu2", "qk_norm": True, "window": 20, "logit_softcap": 3.0, "bias": True, "tied": True},
    "bare": LLAMA | {"position": "none", "qk_norm": True, "attention_softcap": 2.0, "norm": "layernorm"},
}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


@pytest.fixture(params=_native.cpu_info()["variants"])
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    _native.force_variant(request.param)
    yield request.param
    _native.force_variant("")


def weights(shape: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Random ones, by the names of a checkpoint."""
    width, inner, dim = shape["d_model"], shape["d_ff"], shape["d_model"] // shape["n_heads"]
    sizes: dict[str, tuple[int, ...]] = {"embed.weight": (shape["vocab_size"], width)}
    if not shape.get("tied", True):
        sizes["head.weight"] = (shape["vocab_size"], width)
    if shape.get("position") == "learned":
        sizes["position.weight"] = (shape["context_length"], width)
    linear = {
        "attention.qkv": (width + 2 * shape["n_kv_heads"] * dim, width),
        "attention.out": (width, width),
        "mlp.up": (inner, width),
        "mlp.down": (width, inner),
    }
    if shape.get("mlp", "swiglu") == "swiglu":
        linear["mlp.gate"] = (inner, width)
    norms = ["norm", *(f"blocks.{i}.{part}.norm" for i in range(shape["n_layers"]) for part in ("attention", "mlp"))]
    for name in norms:
        sizes[f"{name}.weight"] = (width,)
        if shape.get("bias") and shape.get("norm") == "layernorm":
            sizes[f"{name}.bias"] = (width,)
    for i in range(shape["n_layers"]):
        for name, size in linear.items():
            sizes[f"blocks.{i}.{name}.weight"] = size
            if shape.get("bias"):
                sizes[f"blocks.{i}.{name}.bias"] = size[:1]
        if shape.get("qk_norm"):
            sizes |= {f"blocks.{i}.attention.{part}_norm.weight": (dim,) for part in "qk"}
    generator = torch.Generator().manual_seed(4)
    found = {name: torch.randn(size, generator=generator) for name, size in sizes.items()}
    return {
        name: x * x.shape[-1] ** -0.5 if x.dim() == 2 else x * 0.2 + ("bias" not in name) for name, x in found.items()
    }


def reference(shape: dict[str, Any], given: dict[str, torch.Tensor], ids: list[int]) -> torch.Tensor:
    """Logits after each of the ids, in float64."""
    w = {name: x.double() for name, x in given.items()}
    width, heads, kv_heads = shape["d_model"], shape["n_heads"], shape["n_kv_heads"]
    dim, time = width // heads, len(ids)
    at = torch.arange(time)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        if shape.get("norm") == "layernorm":
            return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w.get(f"{name}.bias"), 1e-5)
        return F.rms_norm(x, x.shape[-1:], w[f"{name}.weight"], 1e-5)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def turn(x: torch.Tensor) -> torch.Tensor:
        if shape.get("position", "rope") != "rope":
            return x
        angle = at[:, None] * shape.get("rope_theta", 1e4) ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        a, b = x.chunk(2, -1)
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    seen = at[None, :] <= at[:, None]
    if window := shape.get("window"):
        seen = seen & (at[None, :] > at[:, None] - window)
    x = w["embed.weight"][ids] + (w["position.weight"][:time] if shape.get("position") == "learned" else 0)
    for i in range(shape["n_layers"]):
        block = f"blocks.{i}"
        packed = linear(norm(x, f"{block}.attention.norm"), f"{block}.attention.qkv").view(time, -1, dim)
        q, k, v = torch.split(packed, [heads, kv_heads, kv_heads], 1)
        if shape.get("qk_norm"):
            q, k = (
                F.rms_norm(t, (dim,), w[f"{block}.attention.{n}_norm.weight"], 1e-5) for t, n in ((q, "q"), (k, "k"))
            )
        q, k = turn(q), turn(k)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        scores = torch.einsum("thd,shd->hts", q, k) * dim**-0.5
        if cap := shape.get("attention_softcap"):
            scores = cap * torch.tanh(scores / cap)
        chances = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        x = x + linear(torch.einsum("hts,shd->thd", chances, v).flatten(1), f"{block}.attention.out")
        h = norm(x, f"{block}.mlp.norm")
        up = linear(h, f"{block}.mlp.up")
        if shape.get("mlp", "swiglu") == "swiglu":
            up = F.silu(linear(h, f"{block}.mlp.gate")) * up
        else:
            up = F.gelu(up, approximate="tanh") if shape["mlp"] == "gelu" else up.relu().square()
        x = x + linear(up, f"{block}.mlp.down")
    logits = norm(x, "norm") @ w["embed.weight" if shape.get("tied", True) else "head.weight"].T
    cap = shape.get("logit_softcap")
    return logits if not cap else cap * torch.tanh(logits / cap)


def engine(shape: dict[str, Any], given: dict[str, torch.Tensor], **settings: Any) -> _native.Engine:
    return _native.Engine({name: x.numpy() for name, x in given.items()}, **shape, **settings)


def ids_of(count: int, vocab: int = 130) -> list[int]:
    return np.random.default_rng(count).integers(0, vocab, count).tolist()  # type: ignore[no-any-return]


def error(found: Any, expected: torch.Tensor) -> float:
    return float((torch.as_tensor(found).double() - expected).norm() / expected.norm())


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


def test_bf16_checkpoints_stay_as_they_are() -> None:
    given = {name: x.bfloat16() for name, x in weights(LLAMA).items()}
    tensors = {
        name: SimpleNamespace(dtype="BF16", shape=tuple(x.shape), data=x.view(torch.int16).numpy().tobytes())
        for name, x in given.items()
    }
    mine = _native.Engine(tensors, **LLAMA)
    ids = ids_of(12)
    assert error(mine.read(ids, mine.cache()), reference(LLAMA, given, ids)[-1]) < 1e-2
    halves = {name: x.half().numpy() for name, x in given.items()}
    wide = _native.Engine(halves, **LLAMA)
    assert error(wide.read(ids, wide.cache()), reference(LLAMA, given, ids)[-1]) < 1e-2


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
