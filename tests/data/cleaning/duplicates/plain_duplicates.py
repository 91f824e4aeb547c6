"""Duplicates as plain Python finds them: every pair is compared."""

from __future__ import annotations

import itertools
import random
import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

ALONE = 0xFFFFFFFF
LONE = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17dd\u3005\u3040-\u30ff\u3400-\u9fff]")


def units(text: str) -> list[str]:
    """Words without case, and characters of scripts that have no spaces."""
    found, word = [], ""
    for character in text:
        is_part = unicodedata.category(character)[0] in "LMN"
        is_lone = is_part and LONE.match(character) is not None
        if word and (is_lone or not is_part):
            found.append(word)
            word = ""
        if is_lone:
            found.append(character)
        elif is_part:
            word += "σ" if character in "Σς" else character.lower()
    return [*found, word] if word else found


def shingles(text: str, length: int) -> set[tuple[str, ...]]:
    words = units(text)
    if not words:
        return set()
    return {tuple(words[at : at + length]) for at in range(max(1, len(words) - length + 1))}


def jaccard(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other) if one or other else 0.0


def pairs_of(texts: Sequence[str], length: int = 5) -> dict[tuple[int, int], float]:
    """The Jaccard of every pair that shares a shingle."""
    sets = [shingles(text, length) for text in texts]
    holders: dict[tuple[str, ...], list[int]] = {}
    for number, held in enumerate(sets):
        for shingle in held:
            holders.setdefault(shingle, []).append(number)
    near = {pair for numbers in holders.values() for pair in itertools.combinations(numbers, 2)}
    return {(one, other): jaccard(sets[one], sets[other]) for one, other in near}


def clusters_of(count: int, pairs: Iterable[tuple[int, int]]) -> NDArray[np.uint32]:
    """The first document of each document's component."""
    first = list(range(count))

    def root(number: int) -> int:
        while first[number] != number:
            number = first[number]
        return number

    for one, other in pairs:
        one, other = sorted((root(one), root(other)))
        first[other] = one
    roots = [root(number) for number in range(count)]
    return np.array([at if roots.count(at) > 1 else ALONE for at in roots], np.uint32)


def passage(draw: random.Random, words: int, vocabulary: int = 3000) -> list[str]:
    return [f"w{draw.randrange(vocabulary):x}" for _ in range(words)]


def edited(draw: random.Random, words: Sequence[str], share: float) -> list[str]:
    """The words, this share of them replaced, at random places."""
    changed = list(words)
    for at in draw.sample(range(len(words)), round(share * len(words))):
        changed[at] = f"new{draw.randrange(10**9):x}"
    return changed
