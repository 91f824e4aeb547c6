"""Which documents are taken, and when: as the plain rule says, one document after another."""

from __future__ import annotations

import numpy as np
import pytest

from pylm.data.mixing.proportions import interleaved, most_without_repeating, shares


def one_after_another(lengths, of_each, tokens, repeat):
    """Take the next document of whoever is furthest behind its share, until there are enough."""
    given, place, taken, total = [0] * len(lengths), [0] * len(lengths), [], 0
    while total < tokens:
        turn = min(range(len(lengths)), key=lambda source: given[source] / of_each[source])
        if place[turn] == len(lengths[turn]):
            if not repeat:
                break
            place[turn] = 0
        length = int(lengths[turn][place[turn]])
        taken.append((turn, place[turn]))
        place[turn], given[turn], total = place[turn] + 1, given[turn] + length, total + length
    return taken


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("repeat", [True, False])
def test_documents_come_as_the_plain_rule_says(seed: int, repeat: bool) -> None:
    random = np.random.default_rng(seed)
    lengths = [random.integers(1, 200, random.integers(1, 60)).astype(np.uint64) for _ in range(random.integers(1, 5))]
    of_each = shares([1] * len(lengths), list(random.uniform(0.05, 1, len(lengths))), None)
    sizes = [int(one.sum()) for one in lengths]
    tokens = int(random.integers(1, 40_000)) if repeat else most_without_repeating(sizes, of_each)
    source, number = interleaved(lengths, of_each, tokens, repeat=repeat)
    assert list(zip(source, number, strict=True)) == one_after_another(lengths, of_each, tokens, repeat)


def test_shares_hold_at_every_point() -> None:
    lengths = [np.full(1000, 10, np.uint64), np.full(100, 50, np.uint64)]
    source, _ = interleaved(lengths, [0.7, 0.3], 10_000, repeat=True)
    sizes = np.where(source == 0, 10, 50)
    of_first = np.cumsum(np.where(source == 0, 10, 0))
    assert (abs(of_first - 0.7 * np.cumsum(sizes)) <= 50).all()


def test_a_seed_gives_each_pass_an_order_of_its_own() -> None:
    lengths = [np.full(50, 3, np.uint64)]
    _, number = interleaved(lengths, [1.0], 300, repeat=True, seed=7)
    first, second = number[:50], number[50:]
    assert sorted(first) == sorted(second) == list(range(50)) and list(first) != list(second)
    assert list(number) == list(interleaved(lengths, [1.0], 300, repeat=True, seed=7)[1])
    assert list(number) != list(interleaved(lengths, [1.0], 300, repeat=True, seed=8)[1])
    assert list(first) == sorted(range(50), key=drawn(7, 0, 0))  # for every machine and every numpy


def drawn(seed: int, source: int, pass_: int):
    """SplitMix64's number of a document, in whole numbers of Python."""

    def mixed(bits: int) -> int:
        bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        bits = (bits ^ bits >> 27) * 0x94D049BB133111EB % 2**64
        return bits ^ bits >> 31

    begin = mixed((mixed((mixed(seed) + source) % 2**64) + pass_) % 2**64)
    return lambda number: mixed((number * 0x9E3779B97F4A7C15 + begin) % 2**64)


def test_a_temperature_brings_sizes_together() -> None:
    assert shares([900, 100], None, None) == shares([900, 100], None, 1) == [0.9, 0.1]
    assert shares([900, 100], None, 0) == [0.5, 0.5]
    small = 100**0.3 / (900**0.3 + 100**0.3)
    assert shares([900, 100], None, 0.3) == pytest.approx([1 - small, small])
    assert shares([900, 100], [2, 6], None) == [0.25, 0.75]
