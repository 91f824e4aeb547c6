"""Which document of a cluster stays, and which texts are copies."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pylm import _rust
from pylm.errors import UsageError
from tests.data.cleaning.duplicates.plain_duplicates import ALONE


def plain(clusters: list[int], passes: list[bool], values: list[float]) -> list[bool]:
    removed = [False] * len(clusters)
    for cluster in set(clusters) - {ALONE}:
        members = [at for at, of in enumerate(clusters) if of == cluster and passes[at]]
        # the greatest value, missing ones last, then the first
        order = sorted(
            members, key=lambda at: (np.isnan(values[at]), -values[at] if values[at] == values[at] else 0, at)
        )
        for at in order[1:]:
            removed[at] = True
    return removed


def test_one_of_those_that_pass_stays() -> None:
    draw = random.Random(1)
    for _ in range(200):
        count = draw.randrange(1, 30)
        clusters = [ALONE] * count
        for at in range(count):
            if draw.random() < 0.7:
                clusters[at] = draw.randrange(count)
        passes = [draw.random() < 0.7 for _ in range(count)]
        values = [draw.choice((np.nan, 1.0, 2.0, -np.inf, -3.5)) for _ in range(count)]
        given = np.array(clusters, np.uint32), np.array(passes), np.array(values)
        assert _rust.removed_duplicates(*given).tolist() == plain(clusters, passes, values)
        assert _rust.removed_duplicates(*given[:2]).tolist() == plain(clusters, passes, [0.0] * count)


def test_sizes_and_fineweb_2s_weights() -> None:
    weights = {1: 1, 2: 2, 3: 3, 4: 3, 5: 5, 99: 5, 100: 8, 999: 8, 1000: 1, 1001: 1}
    clusters, at = [], 0
    for size in weights:
        clusters += [at if size > 1 else ALONE] * size
        at += size
    sizes, times = _rust.cluster_sizes(np.array(clusters, np.uint32))
    assert sizes.tolist() == [size for size in weights for _ in range(size)]
    assert times.tolist() == [weight for size, weight in weights.items() for _ in range(size)]


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(UsageError, match="same documents"):
        _rust.removed_duplicates(np.array([0], np.uint32), np.array([True, True]))
    with pytest.raises(UsageError, match="same documents"):
        _rust.removed_duplicates(np.array([5], np.uint32), np.array([True]))
    with pytest.raises(UsageError, match="not there"):
        _rust.cluster_sizes(np.array([5], np.uint32))


def test_copies_differ_in_white_space_alone() -> None:
    draw = random.Random(2)
    alphabet = [
        "a",
        "B",
        "é",
        "漢",
        "-",
        " ",
        "  ",
        "\n",
        "\t",
        "\u00a0",
        "\u3000",
        "\u2028",
        "\x00",
        "\x1c",
        "word",
        "words of ASCII ",
    ]
    texts = ["".join(draw.choices(alphabet, k=draw.randrange(14))) for _ in range(4000)]
    hashes: dict[str, int] = {}
    for text in texts:
        assert hashes.setdefault(" ".join(text.split()), _rust.exact_hash(text)) == _rust.exact_hash(text)
    assert len(set(hashes.values())) == len(hashes)
    exact = _rust.near_duplicates(texts, near="off")["exact"]
    firsts: dict[str, int] = {}
    for number, text in enumerate(texts):
        first = firsts.setdefault(" ".join(text.split()), number)
        assert exact[number] in (first, ALONE) and (first == number or exact[number] == first)
