"""NFC, control characters, blanks and what is not seen, each against plain Python."""

import importlib.util
import random
import re
import unicodedata
from pathlib import Path

import pytest

from pylm import _rust

spec = importlib.util.spec_from_file_location("repair_sentences", Path(__file__).parent / "sentences.py")
assert spec is not None and spec.loader is not None
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
SENTENCES: dict[str, str] = module.SENTENCES

OFF = dict.fromkeys(["mojibake", "controls", "invisible", "whitespace", "nfc"], False)


def by(repair: str, text: str) -> str:
    return _rust.repair(text, **{**OFF, repair: True})[0]


def drawn(draw: random.Random, alphabet: str, most: int = 24) -> str:
    return "".join(draw.choice(alphabet) for _ in range(draw.randrange(most)))


@pytest.mark.parametrize("language", SENTENCES)
def test_sentences_of_many_languages_stay(language: str) -> None:
    text = unicodedata.normalize("NFC", SENTENCES[language])
    mended, counts = _rust.repair(text)
    assert (mended, any(counts.values())) == (text, False)


def test_nfc_is_unicodedata() -> None:
    draw = random.Random(0)
    known = [chr(point) for point in range(0x30000) if unicodedata.category(chr(point)) not in ("Cn", "Cs", "Co")]
    marks = [c for c in known if unicodedata.combining(c)]
    changing = [c for c in known if unicodedata.normalize("NFD", c) != c]
    for _ in range(20_000):
        text = "".join(draw.choice(draw.choice([known, marks, changing, "aeo "])) for _ in range(draw.randrange(9)))
        assert by("nfc", text) == unicodedata.normalize("NFC", text), ascii(text)
    for text in [*changing, *(unicodedata.normalize("NFD", c) for c in changing)]:
        assert by("nfc", text) == unicodedata.normalize("NFC", text), ascii(text)


def controls(text: str) -> str:
    text = re.sub("\x1b\\[[0-9;]*[a-zA-Z]", "", text)
    text = re.sub("\r\n|[\r\x0b\x0c\x85\u2028\u2029]", "\n", text)
    return re.sub("[\x00-\x08\x0e-\x1f\x7f-\x9f\u206a-\u206f\ufff9-\ufffc]", "", text)


def test_controls() -> None:
    draw = random.Random(1)
    alphabet = "ab1;[m\x1b\x1b\x1b\r\r\n\t\x0b\x0c\x00\x7f\x85\x80\u2028\u2029\u206a\ufffc\ufffdé漢"
    for _ in range(10_000):
        text = drawn(draw, alphabet)
        assert by("controls", text) == controls(text), ascii(text)


BLANKS = "\u00a0\u2000-\u200a\u202f\u205f"
WIDE = re.compile("[\u3001-\u9fff\uac00-\ud7ff\uff00-\uffef]")


def whitespace(text: str, wide_too: bool) -> str:
    lines = []
    for line in text.split("\n"):
        blanks = BLANKS + ("\u3000" if wide_too or not WIDE.search(line) else "")
        lines.append(re.sub(f"[{blanks}]", " ", re.sub(f"[ \t\u3000{BLANKS}]+$", "", line)))
    return re.sub("\n{4,}", "\n\n\n", "\n".join(lines))


@pytest.mark.parametrize("wide_too", [False, True])
def test_whitespace(wide_too: bool) -> None:
    draw = random.Random(2)
    for _ in range(10_000):
        text = drawn(draw, "ab \t\n\n\n\n\u00a0\u2003\u202f\u205f\u3000漢。\u1680é")
        expected = whitespace(text, wide_too)
        assert _rust.repair(text, **{**OFF, "whitespace": True}, wide_blanks=wide_too)[0] == expected, ascii(text)


def test_indentation_stays() -> None:
    code = "def f():\n\tif x:\n  \t    return 1\n\n\n\nclass A:\n        pass\n"
    assert _rust.repair(code)[0] == code.replace("\n\n\n\n", "\n\n\n")


INVISIBLE = (
    "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0001\U000e0020-\U000e007f"
)


def test_nothing_that_is_not_seen_stays_in_latin_text() -> None:
    draw = random.Random(3)
    hidden = [chr(point) for point in range(0xF0000) if re.match(f"[{INVISIBLE}]", chr(point))]
    for _ in range(3_000):
        text = "".join(draw.choice([draw.choice("abé. \n"), draw.choice(hidden)]) for _ in range(20))
        assert by("invisible", text) == re.sub(f"[{INVISIBLE}]", "", text), ascii(text)


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم",
        "لا\u200dإله",
        "क्\u200dष क्\u200cष",
        "ක්\u200dර",
        "👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 👨🏽\u200d💻",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "\u202bעברית\u202c \u200fabc\u200e \u2067א\u2069",
        "ព្រះ\u200bរាជ",
        "ᠮᠣᠩᠭᠣᠯ\u180eᠠ",
    ],
)
def test_what_a_script_needs_stays(text: str) -> None:
    assert by("invisible", text) == text


def test_what_only_hides_goes() -> None:
    for text, expected in [
        ("Auf\u200clage, word\u200dword", "Auflage, wordword"),
        ("می\u200c\u200c\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200dx", "👩x"),
        ("hidden\U000e0068\U000e0069", "hidden"),
        ("x\u202egnp.exe", "xgnp.exe"),
        ("א\nx\u202e", "א\nx"),
        ("漢\u200b字", "漢字"),
    ]:
        assert by("invisible", text) == expected
