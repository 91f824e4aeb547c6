"""Every measure, the text that C4 leaves and every decision, against the rules in plain Python and datatrove itself."""

from __future__ import annotations

import json
import math
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from pylm import _rust
from tests.data.cleaning.rules import hostile, reference

ROOT = Path(__file__).resolve().parents[4]
PEERS = ROOT / ".venv/peers-data/bin/python"
NAMES = _rust.rules_measures()
KEYS = _rust.rules_keys()
TEXTS = list(hostile.texts(1500, seed=20))
# datatrove's two sets; the first as it is written there, the second as far as these texts reach
TERMINAL = "!.?।。"
PUNCTUATION = (
    "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
    + "".join(map(chr, (*range(9), *range(11, 32), *range(127, 160))))
    + TERMINAL
)


def rules(**settings: Any) -> _rust.CleaningRules:
    return _rust.CleaningRules(json.dumps(settings))


def measured(made: _rust.CleaningRules, text: str) -> tuple[dict[str, float], str | None]:
    values, rewritten = made.measure(text)
    return {name: value for name, value in zip(NAMES, values, strict=True) if not math.isnan(value)}, rewritten


def expected(text: str, families: list[str], terminal: bool) -> tuple[dict[str, float], str]:
    found: dict[str, float] = {}
    for family in families:
        words = _rust.words_of(text)
        if family == "c4":
            measures, text = reference.c4(text, _rust.sentences_of, terminal)
        else:
            takes = {
                "gopher_repetition": lambda text=text, words=words: reference.repetition(text, words),
                "gopher": lambda text=text, words=words: reference.gopher(text, words, PUNCTUATION),
                "fineweb": lambda text=text, words=words: reference.fineweb(text, words, TERMINAL),
                "c4_paragraph": lambda text=text: reference.c4_paragraph(text),
            }
            measures = takes[family]()
        found |= measures
    return found, text


ORDERS = [
    ["gopher_repetition", "gopher", "c4", "fineweb"],
    ["gopher_repetition", "fineweb", "gopher"],
    ["c4", "gopher_repetition", "gopher", "c4_paragraph"],
]


@pytest.mark.parametrize("families", ORDERS, ids="-".join)
@pytest.mark.parametrize("terminal", [False, True])
def test_every_measure_is_the_one_of_the_plain_rules(families: list[str], terminal: bool) -> None:
    made = rules(families=families, default={"c4.terminal_punctuation": terminal})
    for text in TEXTS:
        ours, rewritten = measured(made, text)
        theirs, left = expected(text, families, terminal)
        assert ours == theirs, text
        assert (text if rewritten is None else rewritten) == left, text


def test_words_that_join_to_the_same_are_repeated() -> None:
    made = rules(families=["gopher_repetition"])
    again = 0
    for text in hostile.cut_otherwise(600, seed=5):
        ours, _ = measured(made, text)
        assert ours == reference.repetition(text, _rust.words_of(text)), text
        again += ours.get("repetition.dup_5_gram", 0) > 0
    assert again > 200


def decided(measures: dict[str, float], families: list[str], thresholds: dict[str, float]) -> str | None:
    """The first rule that fails: of filling text and brackets the one that was met first."""
    if measures.get("c4.curly_bracket", 0) > measures.get("c4.lorem_ipsum", 0):
        measures = measures | {"c4.lorem_ipsum": 0}
    for key in (key for family in families for key in KEYS if key["family"] == family and key["measure"]):
        value = measures.get(key["measure"], math.nan)
        limit = thresholds[key["key"]]
        if limit is not None and (value < limit if key["comparison"] == "<" else value > limit):
            return str(key["reason"])
    return None


@pytest.mark.parametrize("name", ["fineweb", "fineweb2", "gopher", "c4"])
def test_the_first_rule_that_fails_is_the_reason(name: str) -> None:
    settings = json.loads(_rust.rules_full(_rust.rules_preset(name)))
    made = _rust.CleaningRules(json.dumps(settings))
    reasons = set()
    for text in TEXTS:
        values, _ = made.measure(text)
        found = made.decide(values)
        measures = dict(zip(NAMES, values, strict=True))
        assert (found[0] if found else None) == decided(measures, settings["families"], settings["default"]), text
        reasons.add(found[0] if found else None)
    assert len(reasons) > 3, reasons


@pytest.mark.skipif(not PEERS.exists(), reason="make peers-data installs datatrove")
def test_datatrove_decides_the_same_with_the_same_words(tmp_path: Path) -> None:
    chains = ["fineweb", "fineweb2", "gopher", "c4"]
    texts = TEXTS[:600]
    words: dict[str, list[str]] = {}
    sentences: dict[str, int] = {}
    for text in texts:
        for whole in {text, *(reference.c4(text, _rust.sentences_of, terminal)[1] for terminal in (False, True))}:
            words[whole] = _rust.words_of(whole)
        for line in map(str.strip, text.splitlines()):
            edited = reference.CITATION.sub("", line)
            sentences[edited] = _rust.sentences_of(edited)
    asked = {"chains": chains, "texts": texts, "words": words, "sentences": sentences}
    (tmp_path / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    script = Path(__file__).with_name("datatrove_decisions.py")
    subprocess.run([PEERS, "-W", "ignore", script, tmp_path / "asked.json", tmp_path / "decided.json"], check=True)
    for name, theirs in json.loads((tmp_path / "decided.json").read_text(encoding="utf-8")).items():
        made = _rust.CleaningRules(_rust.rules_preset(name))
        for text, (reason, left) in zip(texts, theirs, strict=True):
            values, rewritten = made.measure(text)
            found = made.decide(values)
            assert (found[0] if found else None) == reason, (name, text)
            if reason is None:
                assert (text if rewritten is None else rewritten) == left, (name, text)


def test_letters_and_spaces_are_those_of_python() -> None:
    """Every character by itself: what is no letter here is none there, where Python knows the character."""
    made = rules(families=["gopher", "length"], default={"length.min_words": 1})
    place = NAMES.index("gopher.alphabetic_words")
    for point in (*range(0x3000), *range(0xA000, 0xA800), *range(0xFB00, 0xFFFF), *range(0x1_0000, 0x1_F000, 7)):
        character = chr(point)
        values, _ = made.measure(character)
        if unicodedata.category(character) not in ("Cn", "Cs"):
            assert math.isnan(values[place]) == character.isspace(), hex(point)
            assert character.isspace() or values[place] == character.isalpha(), hex(point)
