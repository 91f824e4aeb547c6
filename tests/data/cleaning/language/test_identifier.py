"""The built-in identifier names what it knows, and says `und` where it is not sure."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pylm import _rust
from tests.data.cleaning.language.model_file import Model
from tests.data.cleaning.language.stories import STORIES

CODE = """
```js
function sortByName(arr) {
  arr.sort((a, b) => a.name > b.name ? 1 : -1);
}
let users = [ { name: "John", age: 20 }, { name: "Pete", age: 18 }, { name: "Ann", age: 19 } ];
```
"""


def named(*texts: str) -> list[str]:
    return [language for language, _ in _rust.LanguageIdentifier().identify(list(texts))]


@pytest.mark.parametrize("code", STORIES)
def test_a_story_and_each_of_its_thirds_are_named(code: str) -> None:
    text = STORIES[code]
    third = len(text) // 3
    close = {"zsm_Latn"} if code == "ind_Latn" else set()  # a few sentences of Indonesian may as well be Malay
    assert named(text, text.upper()) == [code] * 2
    assert {*named(text[:third], text[third : 2 * third], text[-third:])} - close == {code}


def test_what_is_no_language_is_und() -> None:
    assert named("", " \n\t", "12 345, 6.7! (8)", "🙂🙂🙂") == ["und_Zzzz"] * 4
    draw = random.Random(1)
    words = " ".join("".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(100))
    cyrillic = " ".join("".join(draw.choices("абвгдежзийклмнопрстуфхцчшщыэюя", k=7)) for _ in range(100))
    assert named(words, cyrillic) == ["und_Latn", "und_Cyrl"]
    assert _rust.LanguageIdentifier().identify([words])[0][1] == 0.0


def test_code_and_addresses_do_not_hide_the_language_beside_them() -> None:
    for code in ("cmn_Hani", "jpn_Jpan", "kor_Hang", "rus_Cyrl", "arb_Arab"):
        assert named(CODE + STORIES[code][:150] + CODE, STORIES[code][:150] + CODE * 2) == [code, code]
    menu = "이전 데비안 관리자의 핸드북 다음"
    assert named(f"{menu}\n{STORIES['eng_Latn']}\n{menu}") == ["eng_Latn"]


def test_a_long_text_is_looked_at_in_four_places() -> None:
    german, rest = STORIES["deu_Latn"], STORIES["fra_Latn"]
    assert named(german * 50) == ["deu_Latn"]
    assert named(german[:100] + rest * 200) == ["fra_Latn"]
    assert named(german * 3 + "\0" * 100_000) == ["deu_Latn"]


def test_a_word_of_any_length_is_read() -> None:
    for length in (*range(20, 26), *range(253, 258), 4096):
        assert len(named("ab " + "a" * length + " cd")) == 1


def test_a_model_names_languages_in_place_of_it(tmp_path: Path) -> None:
    path = Model(["</s>", "the"], ["__label__de"]).write(tmp_path / "model.bin")
    assert _rust.LanguageIdentifier(path).identify(["the"]) == [("deu_Latn", pytest.approx(1.0, abs=1e-4))]
