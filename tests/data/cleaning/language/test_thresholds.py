"""Where the rules draw the line for a language: our own thresholds, and FineWeb-2's files."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pylm import _rust
from pylm.data.cleaning import languages
from pylm.data.cleaning.options import CleanOptions
from pylm.errors import DataError, UsageError

GERMAN = """\
dup_line_frac: 0.0
dup_n_grams: [[5, 0.141], [6, 0.134], [7, 0.126], [8, 0.117], [9, 0.108], [10, 0.098]]
language_score: 0.746
line_punct_thr: -1
max_avg_word_length: 15
max_non_alpha_words_ratio: 0.774
min_avg_word_length: 0
new_line_ratio: 0.152
stopwords: [der, und, die]
top_n_grams: [[2, 0.169], [3, 0.153], [4, 0.137]]
"""
JAPANESE = GERMAN.replace("[der, und, die]", '["の", "に", "を", "は", "た", "ない"]')
THAI = GERMAN.replace("[der, und, die]", '["การ", "และ", "ของ", "เป็น", "ไม่"]')


def preset(name: str) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(_rust.rules_preset(name))
    return settings


def folder(at: Path, **files: str) -> Path:
    (at / "configs").mkdir()
    for name, text in files.items():
        (at / "configs" / f"{name}.yml").write_text(text, encoding="utf-8")
    return at


def test_a_file_of_fineweb2_says_where_the_line_is(tmp_path: Path) -> None:
    place = folder(tmp_path, deu_Latn=GERMAN)
    (place / "README.md").write_text("not rules")
    settings, scores = languages.fineweb2(preset("fineweb2"), place)
    assert scores == {"deu_Latn": 0.746}
    assert settings["languages"]["deu_Latn"] == {
        "repetition.dup_line_frac": None,  # 0 is no limit there
        **{
            f"repetition.dup_{n}_gram": x
            for n, x in zip(range(5, 11), (0.141, 0.134, 0.126, 0.117, 0.108, 0.098), strict=True)
        },
        **{f"repetition.top_{n}_gram": x for n, x in zip(range(2, 5), (0.169, 0.153, 0.137), strict=True)},
        "fineweb.line_punct_ratio": -1,
        "fineweb.list_ratio": 0.152,
        "gopher.mean_word_length": 0,
        "gopher.max_mean_word_length": 15,
        "gopher.alphabetic_words": 0.774,
        "gopher.stop_word_list": ["der", "und", "die"],
        "gopher.stop_words": 2,  # as for any language
    }
    assert languages.fineweb2(preset("fineweb2"), place / "configs")[0] == settings
    _rust.CleaningRules(json.dumps(settings))


def test_the_archive_that_get_fetches_is_as_good_as_its_folder(tmp_path: Path) -> None:
    place = folder(tmp_path, deu_Latn=GERMAN, jpn_Jpan=JAPANESE)
    (tmp_path / "got").mkdir()
    with tarfile.open(tmp_path / "got" / "fineweb-2-d0defb24.tar.gz", "w:gz") as archive:
        archive.add(place / "configs", "fineweb-2-d0defb24/configs")
    assert languages.fineweb2(preset("fineweb2"), tmp_path / "got") == languages.fineweb2(preset("fineweb2"), place)
    whole = (tmp_path / "got" / "fineweb-2-d0defb24.tar.gz").read_bytes()
    (tmp_path / "got" / "fineweb-2-d0defb24.tar.gz").write_bytes(whole[:100])
    with pytest.raises(DataError, match="cannot be read as rules"):
        languages.fineweb2(preset("fineweb2"), tmp_path / "got")


def test_where_characters_are_words_limits_for_words_are_scaled(tmp_path: Path) -> None:
    settings, _ = languages.fineweb2(preset("fineweb2"), folder(tmp_path, jpn_Jpan=JAPANESE, tha_Thai=THAI))
    japanese, thai = settings["languages"]["jpn_Jpan"], settings["languages"]["tha_Thai"]
    assert japanese["gopher.word_count"] == 100 and thai["gopher.word_count"] == 200  # 50 words of 2 and 4 characters
    assert japanese["fineweb.list_ratio"] == 0.076 and thai["fineweb.list_ratio"] == 0.038
    assert japanese["gopher.mean_word_length"] is None and thai["gopher.max_mean_word_length"] is None
    assert japanese["gopher.stop_word_list"] == ["の", "に", "を", "は", "た"] and japanese["gopher.stop_words"] == 2
    assert thai["gopher.stop_words"] is None  # none of its stop words is a character
    assert [japanese[f"repetition.dup_{n}_gram"] for n in (5, 9, 10)] == [None, None, 0.141]  # ten are five words
    assert thai["repetition.dup_10_gram"] == 0.282
    assert japanese["repetition.top_2_gram"] is None and japanese["repetition.top_4_gram"] == 0.296


def test_english_has_no_file_and_keeps_what_the_rules_say(tmp_path: Path) -> None:
    settings, _ = languages.fineweb2(preset("fineweb2"), folder(tmp_path, deu_Latn=GERMAN))
    english = settings["languages"]["eng_Latn"]
    assert english["gopher.stop_words"] == 2 and english["repetition.dup_5_gram"] == 0.15
    assert settings["default"]["gopher.stop_words"] is None


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "holds no rules"),
        ("- a\n- b\n", "holds no rules"),
        ("a: [", "cannot be read as rules"),
        ("a: 2024-99-99", "cannot be read as rules"),
        ("line_punct_thr: 0.1\nquality: 3\n", "says quality: 3, which is no rule of FineWeb-2's"),
        ("line_punct_thr: much\n", "says line_punct_thr: much"),
        ("line_punct_thr: .nan\n", "says line_punct_thr: nan"),
        ("line_punct_thr: true\n", "says line_punct_thr: True"),
        ("stopwords: the\n", "says stopwords: the"),
        ("dup_n_grams: [[5, 0.1], [6]]\n", "says dup_n_grams"),
        ("dup_n_grams: [[11, 0.1]]\n", "says dup_n_grams: [[11, 0.1]]"),
        ("top_n_grams: 3\n", "says top_n_grams: 3"),
    ],
)
def test_a_damaged_file_is_named_in_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    place = folder(tmp_path, deu_Latn=GERMAN, fra_Latn=text)
    with pytest.raises(DataError) as refused:
        languages.fineweb2(preset("fineweb2"), place)
    assert said in refused.value.message and "fra_Latn.yml" in refused.value.message
    assert "\n" not in refused.value.message and refused.value.hint


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / "configs" / "fra_Latn.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"fra_Latn\.yml cannot be read as rules"):
        languages.fineweb2(preset("fineweb2"), place)


def test_a_folder_without_rules_is_refused_with_how_to_get_them(tmp_path: Path) -> None:
    for place, said in ((tmp_path, "holds no file of rules"), (tmp_path / "none", "is no folder")):
        with pytest.raises(DataError, match=said) as refused:
            languages.fineweb2(preset("fineweb2"), place)
        assert "pylm data get fineweb2-rules" in (refused.value.hint or "")


@pytest.mark.parametrize("name", ["fineweb", "fineweb2", "gopher", "c4", "none"])
def test_thresholds_are_of_the_families_that_were_asked_for(name: str) -> None:
    settings = preset(name)
    made = languages.built_in(settings)
    full = json.loads(_rust.rules_full(json.dumps(settings)))["default"]
    assert made["families"] == settings["families"]
    assert all(set(own) <= set(full) for own in made["languages"].values())
    assert len([code for code in made["languages"] if not code.startswith("und_")]) == (30 if name != "none" else 0)
    _rust.CleaningRules(json.dumps(made))


def test_a_limit_that_is_typed_is_of_its_key_alone() -> None:
    settings = json.loads(_rust.rules_set(_rust.rules_preset("fineweb"), "repetition.top_2_gram", "0.05"))
    made = languages.built_in(settings)["languages"]
    assert made["und_Hani"]["repetition.top_4_gram"] == made["jpn_Jpan"]["repetition.top_4_gram"] == 0.35


@pytest.mark.parametrize("value", [None, 3])
def test_what_is_typed_holds_for_every_language(value: int | None) -> None:
    own = CleanOptions().thresholds().rules["languages"]
    assert own["deu_Latn"]["gopher.stop_words"] and "gopher.stop_words" in own["jpn_Jpan"]
    rules = CleanOptions(set={"gopher.stop_words": value}).thresholds().rules
    assert rules["default"]["gopher.stop_words"] == value
    assert not [code for code, own in rules["languages"].items() if "gopher.stop_words" in own]


@pytest.mark.parametrize("written", ["de", "deu", "deu_Latn", "German", "german", " de "])
def test_a_language_has_several_names(written: str) -> None:
    assert languages.resolve(written) == ["deu_Latn"]


def test_a_name_that_is_none_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Germann is no language") as refused:
        languages.resolve("Germann")
    assert (refused.value.hint or "").startswith("did you mean German")
    assert languages.resolve("zh-TW") == ["cmn_Hani"]
    assert languages.name_of("cmn_Hani") == "Chinese" and languages.name_of("und_Latn") == "unknown (Latn)"
