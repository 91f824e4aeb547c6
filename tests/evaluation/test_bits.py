"""Bits per byte against sums in exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from pylm.evaluation.bits import Bits, ByteSums, bits_per_byte

LENGTHS = np.array([1, 0, 3, 7, 0, 2, 0, 40], np.int32)  # of eight ids, three of which are special


def exactly(nats: list[float], ids: list[int]) -> Bits:
    text = [(Fraction(loss), int(LENGTHS[one])) for loss, one in zip(nats, ids, strict=True) if one >= 0]
    whole = Fraction(math.log(2)) * sum(size for _, size in text)
    return Bits(float(sum(loss for loss, size in text if size) / whole), float(sum(loss for loss, _ in text) / whole))


@pytest.mark.parametrize("seed", range(5))
def test_bits_are_those_of_fractions(seed: int) -> None:
    chance = np.random.default_rng(seed)
    ids = chance.integers(-1, 8, (6, 50))
    ids[ids < 0] = -100  # a target that is ignored counts in no sum, whatever stands beside it
    nats = (chance.random((6, 50)) * 9).astype(np.float32)
    expected = exactly(nats.ravel().tolist(), ids.ravel().tolist())
    assert bits_per_byte(nats, ids, LENGTHS) == pytest.approx(expected, rel=1e-12)
    assert expected.bits_per_byte_with_eot is not None and expected.bits_per_byte is not None
    assert expected.bits_per_byte_with_eot > expected.bits_per_byte
    sums = ByteSums(LENGTHS)
    for part in (slice(0, 1), slice(1, 4), slice(4, 6)):
        sums.add(nats[part], ids[part].astype(np.int64))
    assert sums.bits() == pytest.approx(expected, rel=1e-12)


def test_special_tokens_alone_have_no_bits() -> None:
    assert bits_per_byte([1.0, 2.0], [1, 4], LENGTHS) == Bits(None, None)
    assert bits_per_byte([], np.array([], np.int64), LENGTHS) == Bits(None, None)
    assert bits_per_byte([math.inf], [0], LENGTHS).bits_per_byte == math.inf


def test_many_bytes_do_not_run_over() -> None:
    """Two tokens of 2³⁰ bytes each are more than 32 bits count."""
    huge = np.array([1 << 30], np.int32)
    assert bits_per_byte([1.0, 1.0], [0, 0], huge).bits_per_byte == pytest.approx(2 / math.log(2) / 2**31)
