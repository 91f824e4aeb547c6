"""Measures of written text against their definitions, by loops over everything."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest

from pylm.evaluation import copied as module
from pylm.evaluation.copied import copied
from pylm.evaluation.texts import distinct, repetition, zlib_ratio


def test_variety_and_repetition_by_hand() -> None:
    assert distinct([[1, 2, 1], [2, 1]], 1) == 2 / 5
    assert distinct([[1, 2, 1], [2, 1]], 2) == 2 / 3
    assert repetition([[1, 2, 1, 2, 1], [1, 2]], 2) == 2 / 5
    assert distinct([[1]], 2) == repetition([[1]]) == zlib_ratio([]) == 0.0
    assert zlib_ratio(["ab", "c"]) == 4 / len(zlib.compress(b"ab\nc", 9))


def longest_by_loop(text: list[int], shards: list[list[int]]) -> int:
    runs = {tuple(s[i:j]) for s in shards for i in range(len(s)) for j in range(i + 1, min(i + 40, len(s)) + 1)}
    places = [(i, j) for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    return max((j - i for i, j in places if tuple(text[i:j]) in runs), default=0)


@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_the_longest_copied_run_is_found(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    chance = random.Random(4)
    shards = [[chance.randrange(4) for _ in range(60)] for _ in range(3)]
    texts = [[chance.randrange(4) for _ in range(chance.randrange(0, 25))] for _ in range(20)]
    texts += [[9, *shards[1][5:31], 9], shards[2][40:], [9, 9, 9]]
    found = copied(texts, [np.array(shard, np.uint16) for shard in shards], least=3)
    wanted = [longest_by_loop(text, shards) for text in texts]
    assert found.longest == [length if length >= 3 else 0 for length in wanted]
    inside = 0
    grams = {tuple(s[i : i + 3]) for s in shards for i in range(len(s) - 2)}
    for text in texts:
        covered = [False] * len(text)
        for at in range(len(text) - 2):
            if tuple(text[at : at + 3]) in grams:
                covered[at : at + 3] = [True] * 3
        inside += sum(covered)
    assert found.novelty == pytest.approx(1 - inside / sum(map(len, texts)))


def test_nothing_is_copied_from_nothing() -> None:
    assert copied([[1] * 20, []], []).longest == [0, 0]
    assert copied([[1] * 20], [np.ones(5, np.uint16)]).novelty == 1.0
    assert copied([], [np.ones(5, np.uint16)]).novelty == 0.0
