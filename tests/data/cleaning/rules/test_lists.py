"""Rules that go by lists and bounds of the user's own: bad words, banned substrings, lengths, signs and digits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pylm import _rust
from pylm.errors import DataError, PylmError, UsageError
from tests.data.cleaning.rules import hostile

NAMES = _rust.rules_measures()
BAD = ["bad", "very bad", "b.d", "naïve", "十", "sm", "女の子"]


def rules(family: str, **values: Any) -> _rust.CleaningRules:
    return _rust.CleaningRules(
        json.dumps({"families": [family], "default": {family + "." + k: v for k, v in values.items()}})
    )


def reason(made: _rust.CleaningRules, text: str, language: str = "eng_Latn") -> str | None:
    found = made.decide(made.measure(text, language)[0], language)
    return found[0] if found else None


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "en.txt").write_text("\n".join(BAD) + "\n\n", encoding="utf-8")
    (folder / "ja.txt").write_text("悪い\n性\nグロ\n", encoding="utf-8")
    (folder / "deu_Latn.txt").write_text("schlecht\n", encoding="utf-8")
    (folder / "README.md").write_text("no list", encoding="utf-8")
    return folder


def test_bad_words_are_those_of_the_original_expression(lists: Path) -> None:
    """Words that stand apart: neither a letter, a digit nor a line below is beside them."""
    made = rules("bad_words", file=str(lists))
    allowed = [word for word in BAD if word not in ("sm", "女の子")]
    original = re.compile(rf"(?:\W|^)({'|'.join(map(re.escape, allowed))})(?:\W|$)")
    said = ["bad", "BAD", "badly", "a bad", "very  bad", "_bad", "bad_", "bad9", "²bad", "é bad.", "b.d", "b,d", "x十"]
    said += ["sm", "NAÏVE", "nai\u0308ve", "badbad", "bad bad", "not-bad", "女の子", "बadbad", "bad\u0301", "\u0301bad"]
    found = set()
    for text in [*said, *(before + word for before in hostile.ALL for word in BAD), *hostile.texts(200, seed=3)]:
        expected = "document_removed_with_badwords" if original.search(text.lower()) else None
        assert reason(made, text) == expected, text
        found.add(expected)
    assert len(found) == 2


@pytest.mark.parametrize(
    ("language", "text", "goes"),
    [
        ("jpn_Jpan", "これは悪いです", True),  # anywhere: its words have no spaces between them
        ("ja", "これは悪いです", True),
        ("jpn_Jpan", "性 グロ", False),  # what common words are full of
        ("deu_Latn", "das ist schlecht", True),
        ("deu_Latn", "a bad one", False),
        ("fra_Latn", "bad schlecht 悪い", False),  # no list of its language
    ],
)
def test_each_language_has_its_own_list(lists: Path, language: str, text: str, goes: bool) -> None:
    assert (reason(rules("bad_words", file=str(lists)), text, language) is not None) == goes


def test_one_file_is_for_every_language(lists: Path) -> None:
    made = rules("bad_words", file=str(lists / "en.txt"))
    assert all(reason(made, "so bad", language) for language in ("eng_Latn", "fra_Latn", "und_Zzzz"))


def test_banned_substrings_are_taken_as_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "banned.txt"
    file.write_text("click here\n[x]\n", encoding="utf-8")
    made = rules("banned", substrings=["Buy now", ""], file=str(file))
    place = NAMES.index("banned.count")
    texts = {"Buy now!": 1, "buy now": 0, "aBuy nowb Buy now": 2, "click here [x]": 2, "": 0, "click\nhere": 0}
    for text, count in texts.items():
        assert made.measure(text)[0][place] == count, text
        assert reason(made, text) == ("banned" if count else None), text


@pytest.mark.parametrize(
    ("bound", "fits", "fails", "name"),
    [
        ("min_characters", "äöü", "äö", "length_few_characters"),
        ("max_characters", "äöü", "äöüx", "length_many_characters"),
        ("min_words", "one two 三", "one two", "length_few_words"),
        ("max_words", "one two 三", "one two 三四", "length_many_words"),
    ],
)
def test_a_bound_of_length_that_is_met_exactly_stays(bound: str, fits: str, fails: str, name: str) -> None:
    made = rules("length", **{bound: 3})
    assert reason(made, fits) is None
    assert reason(made, fails) == name


def test_signs_and_digits_are_counted_in_any_script() -> None:
    made = rules("symbols")
    places = [NAMES.index("symbols.symbol_ratio"), NAMES.index("symbols.digit_ratio")]
    shares = {"ab 1!": (0.25, 0.25), "नमस्ते ३": (0, 1 / 7), "५½² ": (0, 1), "--- ab": (0.6, 0), "a-b😀c": (0.4, 0)}
    for text, expected in shares.items():
        values = made.measure(text)[0]
        assert [values[place] for place in places] == pytest.approx(expected), text
    assert reason(made, "a!!") == "symbol_ratio"
    assert reason(made, "a12") == "digit_ratio"
    assert reason(made, " \n") is None


@pytest.mark.parametrize(
    ("family", "hint"),
    [("bad_words", "bad_words.file=FOLDER"), ("banned", "banned.file=FILE"), ("length", "length.min_characters=200")],
)
def test_a_family_with_nothing_to_go_by_is_an_error(family: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"the rules of {family} have nothing to go by") as raised:
        rules(family)
    assert hint in str(raised.value.hint)


def test_lists_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no list of bad words") as raised:
        rules("bad_words", file=str(tmp_path / "empty"))
    assert "en.txt" in str(raised.value.hint)
    for family in ("bad_words", "banned"):
        with pytest.raises((DataError, PylmError, OSError), match="absent"):
            rules(family, file=str(tmp_path / "absent.txt"))
        (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
        with pytest.raises((DataError, PylmError, OSError), match=r"latin\.txt"):
            rules(family, file=str(tmp_path / "latin.txt"))
