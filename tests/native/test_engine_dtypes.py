"""Weights of every dtype, mixed: fp32 means fp32 whatever they are stored in, and rounding is what was asked for."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from pylm.errors import DataError
from tests.native.decoder import GPT2, LLAMA, engine, error, ids_of, reference, weights

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
MIXES = list(itertools.product(DTYPES, repeat=3))
# of the decoder with the rounded weights; what is quantised rounds keys, values and a prompt's activations to bf16 too
BOUNDS = {"none": 1e-5, "bf16": 1e-2, "int8": 1e-2, "int4": 1.5e-2}
SMALL = LLAMA | {"d_model": 64, "d_ff": 80, "vocab_size": 96, "context_length": 64}
TEXT, ROWS = ids_of(40, 96), 12


@functools.cache
def mixed(embed: str, blocks: str, head: str) -> dict[str, torch.Tensor]:
    """The same random model with its parts in dtypes of their own."""

    def dtype(name: str) -> torch.dtype:
        return DTYPES[embed if name == "embed.weight" else head if name == "head.weight" else blocks]

    return {name: x.to(dtype(name)) for name, x in weights(SMALL).items()}


def rounded(x: torch.Tensor, quantize: str) -> torch.Tensor:
    """A matrix as its rows are kept: steps of a row's largest / 127, of a group of 32's largest / -8, or bf16."""
    x = x.float()
    if quantize == "none" or x.dim() == 1:
        return x
    if quantize == "bf16":
        return x.bfloat16()
    if quantize == "int8":
        return (x / x.abs().amax(1, keepdim=True) * 127).round().double() * (x.abs().amax(1, keepdim=True) / 127)
    groups = torch.nn.functional.pad(x, (0, -x.shape[1] % 32)).unflatten(1, (-1, 32))
    largest = groups.gather(2, groups.abs().argmax(2, keepdim=True))
    step = (largest / -8).bfloat16().float()
    return ((groups / step).round().clamp(-8, 7) * step).flatten(1)[:, : x.shape[1]]


@functools.cache
def expected(mix: tuple[str, str, str], quantize: str) -> torch.Tensor:
    """Logits after each token of the text."""
    return reference(SMALL, {name: rounded(x, quantize) for name, x in mixed(*mix).items()}, TEXT)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These models are so small that a second thread is only waited for."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("quantize", BOUNDS)
@pytest.mark.parametrize("mix", MIXES, ids=["-".join(mix) for mix in MIXES])
def test_every_mix_of_dtypes_gives_the_model_s_logits(mix: tuple[str, str, str], quantize: str, variant: str) -> None:
    logits = expected(mix, quantize)
    mine = engine(SMALL, mixed(*mix), quantize=quantize, threads=1)
    for count in (1, 8, 9, 40):
        assert error(mine.read(TEXT[:count], mine.cache(), every=True), logits[:count]) < BOUNDS[quantize], count
        # the head meets one token, however many the blocks read
        assert error(mine.read(TEXT[:count], mine.cache()), logits[count - 1]) < BOUNDS[quantize], count
    caches = [mine.cache() for _ in range(ROWS)]
    for length, cache in enumerate(caches):
        if length:
            mine.read(TEXT[:length], cache)
    assert error(mine.decode(TEXT[:ROWS], caches), logits[:ROWS]) < BOUNDS[quantize]


def test_bf16_weights_stay_in_bf16_and_are_computed_with_in_fp32(variant: str) -> None:
    given = {name: x.bfloat16() for name, x in weights(LLAMA).items()}
    mine, wide = engine(LLAMA, given), engine(LLAMA, {name: x.float() for name, x in given.items()})
    assert mine.weight_bytes * 2 == wide.weight_bytes
    for count in (4, 20, 300):
        ids = ids_of(count)
        cache = mine.cache()
        assert error(mine.read(ids[:-1], cache, every=True), reference(LLAMA, given, ids)[:-1]) < 1e-5
        # keys and values are not rounded on their way through the cache
        assert error(mine.decode(ids[-1:], [cache])[0], reference(LLAMA, given, ids)[-1]) < 1e-5


def test_a_batch_and_one_alone_agree_in_fp32(variant: str) -> None:
    given = {name: x.bfloat16() for name, x in weights(LLAMA).items()}
    mine, ids = engine(LLAMA, given), ids_of(30)
    alone = mine.cache()
    first = mine.read(ids, alone)
    for rows in (2, 3, 9, 16):
        caches = [mine.cache() for _ in range(rows)]
        for cache in caches:
            for part in (ids[:11], ids[11:12], ids[12:]):
                last = mine.read(part, cache)
            assert error(last, torch.as_tensor(first).double()) < 1e-5
        alone.truncate(30)
        one = mine.decode([7], [alone])
        assert error(mine.decode([7] * rows, caches), torch.as_tensor(one).double().expand(rows, -1)) < 1e-5


@pytest.mark.parametrize("quantize", ["int8", "int4"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["embed.weight", "blocks.1.mlp.down.weight"])
def test_what_is_not_finite_is_not_quantised(name: str, value: float, quantize: str) -> None:
    given = weights(GPT2)
    given[name][17, 3] = value
    what = "NaN" if np.isnan(value) else "infinity"
    with pytest.raises(DataError, match=rf"{name} holds {what} \(row 17, column 3\)") as caught:
        engine(GPT2, given, quantize=quantize)
    assert "earlier" in str(caught.value.hint)
    for plain in ("none", "bf16"):  # these hold it as it is, and say so in their logits
        mine = engine(GPT2, given, quantize=plain)
        assert not np.isfinite(mine.read([17, 3], mine.cache(), every=True)).all()


@pytest.mark.parametrize("count", [3, 20])
@pytest.mark.parametrize("quantize", BOUNDS)
def test_nan_on_the_way_comes_out_as_nan(quantize: str, count: int, variant: str) -> None:
    """A vector is not quantised; what it spoils must not look healthy after a product with quantised weights."""
    given: dict[str, Any] = weights(LLAMA)
    given["blocks.0.mlp.norm.weight"][33] = float("nan")
    mine = engine(LLAMA, given, quantize=quantize)
    assert np.isnan(mine.read(ids_of(count), mine.cache())).all()


@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_numbers_too_small_to_divide_by_become_zero(quantize: str, variant: str) -> None:
    given = weights(GPT2)
    given["blocks.0.mlp.up.weight"] *= 1e-42 / given["blocks.0.mlp.up.weight"].abs().max()
    mine = engine(GPT2, given, quantize=quantize)
    zero = engine(GPT2, given | {"blocks.0.mlp.up.weight": torch.zeros(100, 48)}, quantize=quantize)
    for count in (3, 20):
        ids = ids_of(count)
        assert error(mine.read(ids, mine.cache()), torch.as_tensor(zero.read(ids, zero.cache())).double()) < 1e-6
