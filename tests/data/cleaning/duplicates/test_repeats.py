"""Lines, paragraphs and spans that documents share: the first occurrence stays, whatever the threads and the memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pylm import _rust
from pylm.errors import UsageError
from tests.data.cleaning.duplicates.plain_duplicates import units

BANNER = "We use cookies. Accept all!"


def plain(texts: list[str], least: int, pieces_of: str) -> list[str]:
    """Lines or paragraphs that `least` documents have go, but for the first."""
    holders: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    cut = {"lines": lines, "paragraphs": paragraphs}[pieces_of]
    for number, text in enumerate(texts):
        for place, piece in enumerate(cut(text)):
            if units(piece):
                holders.setdefault(tuple(units(piece)), []).append((number, place))
    gone = {
        at
        for occurrences in holders.values()
        if len({number for number, _ in occurrences}) >= least
        for at in occurrences[1:]
    }
    kept = []
    for number, text in enumerate(texts):
        pieces = cut(text)
        stays = "".join(piece for place, piece in enumerate(pieces) if (number, place) not in gone)
        changed = any(at[0] == number for at in gone)
        kept.append(stays.rstrip("\r\n") if changed and not text.endswith("\n") else stays)
    return kept


def lines(text: str) -> list[str]:
    *whole, last = text.split("\n")
    return [f"{line}\n" for line in whole] + ([last] if last else [])


def paragraphs(text: str) -> list[str]:
    pieces: list[str] = []
    was_blank = True
    for line in lines(text):
        is_blank = not line.strip()
        if pieces and (is_blank or not was_blank):
            pieces[-1] += line
        else:
            pieces.append(line)
        was_blank = is_blank
    return pieces


def corpus(count: int, seed: int = 2) -> list[str]:
    draw = random.Random(seed)
    common = [BANNER, "}", "* * *", "", "", "Home | About", "home, about", "漢字の行。", "12", "x = 1"]
    texts = []
    for number in range(count):
        some = [
            draw.choice(common) if draw.random() < 0.5 else f"line {draw.randrange(count)} of {number % 50}"
            for _ in range(draw.randrange(12))
        ]
        texts.append("\n".join(some) + draw.choice(("", "\n", "\n\n", "\r\n")))
    return texts


@pytest.mark.parametrize("part", ["lines", "paragraphs"])
@pytest.mark.parametrize("least", [1, 2, 5])
def test_what_goes_is_what_plain_python_drops(part: str, least: int) -> None:
    texts = corpus(300)
    found = _rust.without_repeats(texts, part, least)
    assert found == plain(texts, least, part)
    assert found != texts


def test_the_first_stays_and_what_holds_a_text_together_too() -> None:
    texts = [f"one\n{BANNER}\n}}\n", f"{BANNER.upper()}\ntwo\n}}", f"three\n\n{BANNER}", f"four\n{BANNER}\nfour\n"]
    found = _rust.without_repeats(texts, "lines", 3)
    assert found == [texts[0], "two\n}", "three", "four\nfour\n"]
    assert _rust.without_repeats(texts, "lines", 5) == texts
    spans = ["Is one. Is two. Is three. Is four.", "First. Is one. Is two.  Is three! Last.", "Is one. Is two. Other."]
    assert _rust.without_repeats(spans, "spans", 1) == [spans[0], "First. Last.", spans[2]]


@pytest.mark.parametrize("part", ["lines", "spans"])
def test_memory_and_threads_change_nothing(tmp_path: Path, part: str) -> None:
    """Enough lines that they are spilled several times, and so are those that go."""
    texts = [text.replace("\n", ". ") if part == "spans" else text for text in corpus(30_000)]
    in_memory = _rust.without_repeats(texts, part, 2, threads=1)
    for threads in (1, 3):
        assert _rust.without_repeats(texts, part, 2, threads=threads, memory=1, scratch=tmp_path) == in_memory
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_part_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="'words'|\"words\""):
        _rust.without_repeats([], "words", 2)
