"""The text of every language survives what `pylm.data.clean` does by default, and rubbish survives in none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pylm import _rust
from pylm.data.cleaning import languages
from tests.data.cleaning.language.declarations import FOLDER, MISSING, declarations
from tests.data.cleaning.language.stories import STORIES
from tests.data.cleaning.run.corpus import clean, lines, write

THIRTY = (
    "eng_Latn deu_Latn fra_Latn spa_Latn ita_Latn por_Latn nld_Latn swe_Latn dan_Latn nob_Latn fin_Latn pol_Latn "
    "ces_Latn slk_Latn ron_Latn hun_Latn tur_Latn ind_Latn vie_Latn rus_Cyrl ukr_Cyrl bul_Cyrl ell_Grek arb_Arab "
    "fas_Arab hin_Deva kor_Hang jpn_Jpan cmn_Hani tha_Thai"
).split()
WHY = {  # declarations that go, each for what is in it
    "055": "curly_bracket",  # a { that was meant to be a bracket
    "fvr": "curly_bracket",
    "san": "curly_bracket",
    "san_gran": "curly_bracket",
    "khk_mong": "gopher_short_doc",  # the first article alone: 24 to 44 words
    "taj": "gopher_short_doc",
    "tgl_tglg": "gopher_short_doc",
    "tzm_tfng": "gopher_short_doc",
    "piu": "char_dup_ratio",  # a ninth of it are lines that stand there twice
}


def cleaned(texts: dict[str, str], folder: Path, **given: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """Return why texts are left out, by their names, and what report.json says of each language."""
    rows = [{"text": text, "id": name} for name, text in texts.items()]
    clean(write(folder / "rows.jsonl", rows), folder / "out", **{"near": "off", **given})
    report = json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))
    kept = {line["id"] for line in lines(folder / "out", "text")}
    reasons = {line["id"]: line["reason"] for line in lines(folder / "out", "removed")}
    assert kept | set(reasons) == set(texts) and not kept & set(reasons)
    return reasons, {language["language"]: language for language in report["languages"]}


def test_a_story_is_kept_in_every_language(tmp_path: Path) -> None:
    assert len(STORIES) >= 35 and set(THIRTY) <= set(STORIES)
    reasons, told = cleaned(STORIES, tmp_path)
    assert reasons == {}
    assert set(told) == set(STORIES)
    apart = {"lao_Laoo", "khm_Khmr", "mya_Mymr", "amh_Ethi"}
    assert {code for code, said in told.items() if said["thresholds"] == "built-in"} == {*THIRTY, *apart}
    characters = {"jpn_Jpan", "cmn_Hani", "tha_Thai", "lao_Laoo", "khm_Khmr", "mya_Mymr"}
    assert {code for code, said in told.items() if said["words"] == "characters"} == characters


@pytest.mark.parametrize("rules", ["fineweb2", "gopher", "c4"])
def test_a_story_is_kept_by_other_rules(rules: str, tmp_path: Path) -> None:
    # C4 alone has lines end with a full stop of ASCII, which no Chinese line does, and is asked for by name
    given = {"set": {"c4.terminal_punctuation": False}} if rules == "c4" else {}
    assert cleaned(STORIES, tmp_path, rules=rules, **given)[0] == {}


def test_what_repeats_itself_goes_in_every_language(tmp_path: Path) -> None:
    ends = re.compile(r"(?<=[.。।።۔։။។]) ?")
    twenty = {code: " ".join([ends.split(text)[0][:150]] * 20) for code, text in STORIES.items()}
    reasons, _ = cleaned(twenty, tmp_path, exact=False)
    assert set(reasons) == set(twenty)
    assert {reason.split("_")[0] for reason in reasons.values()} <= {"top", "duplicated"}


def rules_for(families: list[str]) -> _rust.CleaningRules:
    return _rust.CleaningRules(json.dumps(languages.built_in({"families": families, "default": {}, "languages": {}})))


def test_what_is_too_short_goes_in_every_language() -> None:
    rules = rules_for(["gopher"])
    for code, text in STORIES.items():
        decision = rules.decide(rules.measure(text[: len(text) // 4], code)[0], code)
        assert decision is None if code == "amh_Ethi" else decision and decision[0] == "gopher_short_doc", code


def test_a_language_takes_the_thresholds_of_its_script() -> None:
    rules = rules_for(["gopher"])
    measures = rules.measure(STORIES["cmn_Hani"], "cmn_Hani")[0]
    assert rules.decide(measures, "wuu_Hani") is None and rules.decide(measures, "und_Hani") is None
    short = rules.decide(rules.measure(STORIES["cmn_Hani"][:60], "wuu_Hani")[0], "wuu_Hani")
    assert short and short[0] == "gopher_short_doc" and short[3] == 75  # fifty words of a character and a half
    assert rules.decide(measures, "eng_Latn") is not None


def test_english_keeps_finewebs_thresholds() -> None:
    settings = json.loads(_rust.rules_preset("fineweb"))
    plain, ours = (
        _rust.CleaningRules(json.dumps(settings)),
        _rust.CleaningRules(json.dumps(languages.built_in(settings))),
    )
    text = STORIES["eng_Latn"]
    for changed in (
        text,
        text[:200],
        text.replace(".", ""),
        text.replace("e", "e#"),
        text.replace(" ", "\n"),
        text * 4,
    ):
        measures = plain.measure(changed)[0]
        assert ours.decide(measures) == plain.decide(measures)


@pytest.mark.skipif(not FOLDER.exists(), reason=MISSING)
def test_no_declaration_is_lost_to_a_rule_that_is_blind_to_its_language(tmp_path: Path) -> None:
    texts = {one.name: one.text for one in declarations()}
    assert len(texts) > 500
    assert cleaned(texts, tmp_path, exact=False)[0] == WHY
