"""Dropout's masks: SplitMix64 by the book, the same in both frameworks, and as independent as they should be."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch

from pylm.model.masks import Masks
from pylm.model.mlx.dropout import dropped as mlx_dropped
from pylm.model.mlx.dropout import keys_array
from pylm.model.torch_dropout import dropped as torch_dropped
from pylm.model.torch_dropout import keys_on
from tests.parity.pair import shape_of

WORD = 2**64
CPU = torch.device("cpu")


def splitmix(state: int, count: int) -> list[int]:
    """The published generator (Steele, Lea and Flood, 2014): its first outputs from a state."""
    found = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % WORD
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % WORD
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % WORD
        found.append(z ^ (z >> 31))
    return found


def test_the_generator_is_the_published_one() -> None:
    # the first outputs from 1234567 as its authors' C gives them
    assert splitmix(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    keys = Masks(7).keys(3)
    assert len(set(keys)) == 3 and all(0 <= key < WORD for key in keys)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("size", "share"), [((3, 7, 5), 0.3), ((64,), 0.5), ((1, 1), 0.9), ((11, 13), 0.001)])
def test_both_drop_what_the_generator_says(size: tuple[int, ...], share: float, dtype: str) -> None:
    keys = Masks(99).keys(5)
    count = int(np.prod(size))
    lanes = [(word >> shift) & 0xFFFF for word in splitmix(keys[3], -(-count // 4)) for shift in (0, 16, 32, 48)]
    signed = np.array(lanes[:count], np.uint16).view(np.int16)
    dropped = round(share * 65536)
    kept = (signed >= dropped - 32768).reshape(size)
    x = np.random.default_rng(1).normal(size=size).astype(np.float32)
    tensor = torch.from_numpy(x).to(getattr(torch, dtype))
    ours = torch_dropped(tensor, keys_on(keys, CPU)[2, 0], share)
    other = mlx_dropped(mx.array(x).astype(getattr(mx, dtype)), keys_array(keys)[3], share)
    expected = torch.where(torch.from_numpy(kept), tensor * (65536 / (65536 - dropped)), 0.0)
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)
    np.testing.assert_array_equal(np.array(other.astype(mx.float32)), ours.float().numpy())


def test_the_share_holds_and_passes_places_and_seeds_differ() -> None:
    ones, masks = torch.ones(400, 1000), Masks(5)
    drawn = []
    for keys in (masks.keys(3), masks.keys(3), Masks(6).keys(3)):
        for key in (keys_on(keys, CPU)[0, 0], *keys_on(keys, CPU)[1]):
            made = torch_dropped(ones, key, 0.1)
            assert (made == 0).float().mean() == pytest.approx(0.1, abs=0.002)
            assert made.mean() == pytest.approx(1.0, abs=0.003)
            drawn.append((made == 0).flatten().double())
    together = torch.corrcoef(torch.stack(drawn))
    assert (together - torch.eye(len(drawn))).abs().max() < 0.01
    rows = torch.corrcoef((torch_dropped(ones, keys_on(masks.keys(1), CPU)[0, 0], 0.5) == 0).double()[:64])
    assert (rows - torch.eye(64)).abs().max() < 0.2


def test_nothing_drops_where_nobody_trains_and_gradients_are_of_what_stayed() -> None:
    x: Any = torch.randn(50, 3, requires_grad=True)
    key = keys_on(Masks(1).keys(1), CPU)[0, 0]
    made = torch_dropped(x, key, 0.4)
    made.sum().backward()
    scale = 65536 / (65536 - round(0.4 * 65536))
    torch.testing.assert_close(x.grad, (made != 0) * scale, check_dtype=False)
    from pylm.model.torch import Model

    model = Model(shape_of(dropout=0.5), generator=torch.Generator().manual_seed(1))
    idx = torch.zeros(1, 5, dtype=torch.int64)
    assert not torch.equal(model(idx), model(idx)) and model.masks.passes == 2
    assert torch.equal(model.eval()(idx), model(idx)) and model.masks.passes == 2
