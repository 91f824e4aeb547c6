"""The cut of a text: whole documents, none on both sides, none lost, the same each time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pylm.errors import DataError
from pylm.track import held_out
from pylm.track.held_out import cut, documents

WORDS = ["the", "cat", "sat", "größer", "漢字", "and\n", "so"]


def written(path: Path, count: int, words: int, between: str = "<|endoftext|>") -> list[str]:
    drawn = random.Random(1)
    texts = [" ".join(drawn.choices(WORDS, k=words)) + f" {number}" for number in range(count)]
    path.write_text(between.join(texts), encoding="utf-8")
    return texts


def test_every_document_lies_on_one_side(tmp_path: Path) -> None:
    texts = written(tmp_path / "my.txt", 2000, 60)
    texts += texts[:300]  # copies go where the first one went
    (tmp_path / "my.txt").write_text("<|endoftext|>".join(texts), encoding="utf-8")
    train, held = cut(tmp_path / "my.txt", tmp_path)
    sides = [[document.decode() for document in documents(path)] for path in (train, held)]
    assert sorted(sides[0] + sides[1]) == sorted(texts)
    assert not set(sides[0]) & set(sides[1])
    assert 5 <= len(sides[1]) <= 50
    again = tmp_path / "again"
    again.mkdir()
    assert [path.read_bytes() for path in cut(tmp_path / "my.txt", again)] == [train.read_bytes(), held.read_bytes()]


def test_a_text_of_few_documents_gives_its_end(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("a line of some words\n" * 20_000)
    train, held = cut(path, tmp_path)
    assert train.read_bytes() + held.read_bytes() == path.read_bytes()
    assert held.read_bytes().startswith(b"a line") and 4100 < held.stat().st_size <= 4200


def test_a_separator_across_two_reads_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "BLOCK", 32)
    path = tmp_path / "wide.txt"
    for first in range(1, 70):
        path.write_bytes(b"a" * first + b"<|endoftext|>" + b"b" * 9 + b"<|endoftext|>" * 2)
        assert list(map(len, documents(path))) == [first, 9]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a few words\n" * 100, "my.txt is too small to hold a hundredth of it back: that is "),
        (b"", "too small"),
        (b"no end of a line" * 20_000, "too small"),
        (
            b"no end of a line" * 100_000,
            "my.txt is cut between documents, or else lines, and 0 bytes alone would be held",
        ),
        (b"line\n" * 100_000 + b"\xff\xfe\n" * 9, "my.txt is no UTF-8 text"),
    ],
)
def test_a_text_that_cannot_be_cut_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "my.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint) as caught:
        cut(path, tmp_path)
    assert caught.value.hint
