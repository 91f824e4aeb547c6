"""What settings of rules may say, what is said of those that may not, and that the page of rules knows every key."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pylm import _rust
from pylm.errors import UsageError

PAGE = Path(__file__).resolve().parents[4] / "docs/cleaning-rules.md"
KEYS = _rust.rules_keys()


def test_the_page_has_a_row_of_every_key_with_its_default_and_reason() -> None:
    every = json.dumps({"families": sorted({str(key["family"]) for key in KEYS})})
    defaults = json.loads(_rust.rules_full(every))["default"]
    lines = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    rows = {cells[0].strip("`"): cells for cells in lines if re.fullmatch(r"`\w+\.\w+`", cells[0])}
    for key in KEYS:
        default, cells = defaults[key["key"]], rows.get(key["key"])
        assert cells, key["key"]
        if key["comparison"]:
            shown = "off" if default is None else f"{key['comparison']} {default:,g}"
            assert cells[2:] == [shown, f"`{key['reason']}`"], cells


def said(settings: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as raised:
        _rust.CleaningRules(json.dumps(settings))
    return f"{raised.value} / {raised.value.hint}"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"families": ["gohper"]}, "there is no family of rules gohper / the nearest is gopher"),
        ({"families": ["gopher", "gopher"]}, "the family of rules gopher is named twice"),
        (
            {"default": {"gopher.word_cuont": 1}},
            "there is no rule gopher.word_cuont / the nearest is gopher.word_count",
        ),
        ({"languages": {"deu_Latn": {"c4.sentence": 1}}}, "there is no rule c4.sentence / the nearest is c4.sentences"),
        ({"default": {"gopher.word_count": "50"}}, 'the rule gopher.word_count takes a number or null, not "50"'),
        ({"default": {"c4.policy": 1}}, "the rule c4.policy takes true, false or null, not 1"),
        ({"default": {"gopher.stop_word_list": "the"}}, "the rule gopher.stop_word_list takes a list of strings"),
        ({"default": {"banned.file": 3}}, "the rule banned.file takes a path or null, not 3"),
        ({"familes": []}, "these are no settings of rules"),
    ],
)
def test_what_is_not_known_is_one_sentence_with_the_nearest(settings: dict[str, Any], sentence: str) -> None:
    assert sentence in said(settings)


def test_a_set_of_rules_that_is_not_known_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="there is no set of rules finweb") as raised:
        _rust.rules_preset("finweb")
    assert raised.value.hint == "the nearest is fineweb"


def test_a_key_that_is_set_asks_for_its_family() -> None:
    settings = _rust.rules_set(_rust.rules_preset("none"), "length.min_words", "5")
    assert json.loads(settings)["families"] == ["length"]
    with pytest.raises(UsageError, match="is no JSON"):
        _rust.rules_set(settings, "length.min_words", "five")


def test_a_language_has_its_own_thresholds() -> None:
    made = _rust.CleaningRules(
        json.dumps({"families": ["gopher"], "default": {"gopher.word_count": 3, "gopher.stop_words": None},
                    "languages": {"deu_Latn": {"gopher.word_count": 2}, "fra_Latn": {"gopher.word_count": None}}})
    )  # fmt: skip
    reasons = {}
    for language in ("eng_Latn", "deu_Latn", "fra_Latn", "und_Zzzz"):
        found = made.decide(made.measure("word", language)[0], language)
        reasons[language] = found and (found[0], found[3])
    short = "gopher_short_doc"
    assert reasons == {"eng_Latn": (short, 3), "deu_Latn": (short, 2), "fra_Latn": None, "und_Zzzz": (short, 3)}


def test_thresholds_change_without_the_text() -> None:
    """Measures that were taken under other thresholds decide as if they had been taken under these."""
    strict = _rust.CleaningRules(
        json.dumps({"families": ["gopher_repetition"], "default": {"repetition.dup_5_gram": 0.01}})
    )
    off = _rust.CleaningRules(
        json.dumps({"families": ["gopher_repetition"], "default": {"repetition.dup_line_frac": None}})
    )
    text = "one and the same line of words\n" * 4 + "another line"
    assert off.measure(text)[0][1:14] == strict.measure(text)[0][1:14]
    assert strict.decide(off.measure(text)[0])[0] == "dup_line_frac"  # type: ignore[index]
