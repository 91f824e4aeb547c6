"""FineWeb's MinHash, as datatrove has it, in plain Python and numpy."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np

PRIME = np.uint64((1 << 61) - 1)
DECIMALS = ".,،٫⎖⎗⎘"
PUNCTUATION = set("!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»") | {
    chr(x) for a, b in ((0, 9), (11, 13), (13, 32), (127, 160)) for x in range(a, b)
}


def simplified(text: str) -> str:
    text = "".join(" " if c in PUNCTUATION else c for c in numbers_as_0(text.lower()))
    plain = unicodedata.normalize("NFD", " ".join(text.split()))
    return "".join(c for c in plain if unicodedata.category(c) != "Mn").strip()


def numbers_as_0(text: str) -> str:
    kept, at = "", 0
    while at < len(text):
        end = digits_from(text, at)
        if end == at:
            kept, at = kept + text[at], at + 1
            continue
        if text[end : end + 1] and text[end] in DECIMALS and digits_from(text, end + 1) > end + 1:
            end = digits_from(text, end + 1)
        kept, at = kept + "0", end
    return kept


def digits_from(text: str, at: int) -> int:
    while at < len(text) and unicodedata.category(text[at]) == "Nd":
        at += 1
    return at


def sha1_of(text: str) -> int:
    return int.from_bytes(hashlib.sha1(text.encode()).digest()[:8], "little")


MASK = (1 << 64) - 1
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def xxh64_of(text: str) -> int:
    """XXH64 with seed 0, by its specification."""
    data = text.encode()
    at, length = 0, len(data)

    def turn(x: int, by: int) -> int:
        return (x << by | x >> (64 - by)) & MASK

    def mixed(lane: int, word: int) -> int:
        return turn((lane + word * P2) & MASK, 31) * P1 & MASK

    def word(size: int = 8) -> int:
        return int.from_bytes(data[at : at + size], "little")

    if length >= 32:
        lanes = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        while at + 32 <= length:
            for lane in range(4):
                lanes[lane] = mixed(lanes[lane], word())
                at += 8
        h = sum(turn(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            h = ((h ^ mixed(0, lane)) * P1 + P4) & MASK
    else:
        h = P5
    h = (h + length) & MASK
    while at + 8 <= length:
        h, at = (turn(h ^ mixed(0, word()), 27) * P1 + P4) & MASK, at + 8
    if at + 4 <= length:
        h, at = (turn(h ^ (word(4) * P1 & MASK), 23) * P2 + P3) & MASK, at + 4
    while at < length:
        h, at = turn(h ^ (data[at] * P5 & MASK), 11) * P1 & MASK, at + 1
    h = (h ^ h >> 33) * P2 & MASK
    h = (h ^ h >> 29) * P3 & MASK
    return h ^ h >> 32


HASHES = {"sha1": sha1_of, "xxh64": xxh64_of}


def parameters() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.RandomState(1)
    return (
        draw.randint(1, PRIME, dtype=np.uint64, size=(1, 112)),
        draw.randint(0, PRIME, dtype=np.uint64, size=(1, 112)),
    )


def signature(words: Sequence[str], hash_name: str) -> list[int] | None:
    """None where there are fewer than five words. The product wraps at 2^64."""
    hashed = [HASHES[hash_name](" ".join(words[at : at + 5])) for at in range(len(words) - 4)]
    if not hashed:
        return None
    a, b = parameters()
    values = (np.array(hashed, np.uint64).reshape(-1, 1) * a + b) % PRIME
    return values.min(axis=0).tolist()
