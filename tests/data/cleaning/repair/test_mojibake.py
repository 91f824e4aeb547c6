"""Text that was read in a wrong encoding: what ftfy makes of each line is what is made here, and clean text stays."""

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import ftfy
import pytest
from ftfy import badness, chardata

from pylm import _rust


def beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"repair_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SENTENCES: dict[str, str] = beside("sentences").SENTENCES
ENCODINGS = chardata.CHARMAP_ENCODINGS


def mended(text: str) -> str:
    return _rust.repair(text, controls=False, invisible=False, whitespace=False, nfc=False)[0]


def misread(text: str, draw: random.Random) -> str:
    """UTF-8 read as something else, once or more."""
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        try:
            text = text.encode().decode(draw.choice(ENCODINGS[:2] * 6 + ENCODINGS))
        except UnicodeError:
            break
    return text.replace("\n", " ")


def damaged(text: str, clean: str, draw: random.Random) -> str:
    """What happens to mojibake on its way: lost blanks, lost bytes, a clean neighbour, a cut."""
    place = draw.randrange(len(text))
    return draw.choice(
        [
            text,
            text,
            text.replace("\xa0", " "),
            text[:place] + draw.choice("?\ufffd\x1a") + text[place + 1 :],
            f"{clean[:40]} {text}",
            text[: place + 1],
        ]
    )


@pytest.mark.parametrize("language", SENTENCES)
def test_misread_sentences_are_what_ftfy_makes_of_them(language: str) -> None:
    draw, clean = random.Random(language), SENTENCES[language]
    for _ in range(60):
        text = damaged(misread(clean[: draw.choice([8, 30, 200])], draw), clean, draw)
        assert mended(text) == ftfy.fix_encoding(text), repr(text)


@pytest.mark.parametrize("language", SENTENCES)
def test_clean_sentences_stay(language: str) -> None:
    assert mended(SENTENCES[language]) == SENTENCES[language]


def test_misread_once_most_sentences_come_back() -> None:
    back = [mended(clean.encode().decode("latin-1")) == clean for clean in SENTENCES.values()]
    assert sum(back) >= 40


def test_hostile_lines() -> None:
    draw = random.Random(3)
    pieces = ["".join(chardata.UTF8_CLUES.values()), "".join(badness.MOJIBAKE_CATEGORIES.values())]
    alphabet = "".join(pieces) + "abc ABC?\x1a\ufffd\xc0\xed .,!«" + "Ã Âàâ€" * 6
    changed = 0
    for _ in range(20_000):
        text = "".join(draw.choice(alphabet) for _ in range(draw.randrange(1, 14)))
        expected = ftfy.fix_encoding(text)
        assert mended(text) == expected, repr(text)
        changed += expected != text
    assert changed > 1_000


def test_bytes_that_are_nearly_utf_8() -> None:
    draw = random.Random(4)
    alphabet = [
        0xED,
        0xA0,
        0xBD,
        0xB8,
        0x80,
        0xC0,
        0xC3,
        0xA9,
        0xE2,
        0x82,
        0xAC,
        0xF0,
        0x9F,
        0x98,
        0x20,
        0x3F,
        0x1A,
        0x61,
    ]
    for _ in range(20_000):
        text = bytes(draw.choice(alphabet) for _ in range(draw.randrange(1, 12))).decode("latin-1")
        text += draw.choice(["", " Ã©tÃ©"])
        assert mended(text) == ftfy.fix_encoding(text), repr(text)


def test_each_line_is_mended_alone() -> None:
    assert mended("schÃ¶n\nschön\n\nâ€œnaÃ¯veâ€\x9d") == "schön\nschön\n\n“naïve”"
    assert _rust.repair("schÃ¶n\nschön\nGrÃ¼Ã\x9fe")[1]["mojibake"] == 2
