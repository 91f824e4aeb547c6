"""Test items in pages: how fast each is looked for, with every planted one found and no clean page accused.

Passages of the corpora; every tenth holds an item in another case, with other blanks and punctuation. The peer is
datatrove's n-gram filter with its own words, in an environment of its own: `make peers-data`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from benchmarks.clean import contamination_sides as sides
from benchmarks.compare import Compare, Side
from benchmarks.corpora import SEPARATOR, Texts
from benchmarks.report import Row

PEERS = str(Path(__file__).resolve().parent.parent.parent / ".venv" / "peers-data" / "bin" / "python")
ITEMS, PAGES, CLEAN = 2_000, 400, 10_000  # datatrove takes seconds for so many, and minutes for ten times as many
AROUND = (" ", "\n\n", ", ", " -- ", "\t", "... ", ' "', ") (")
NAME = f"{ITEMS:,} test items in pages, {sides.N}-grams"


def words_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").replace(SEPARATOR, " ").split()


def made(words: list[str], planted: bool, pages: int, path: Path) -> Path:
    """Items of words in a random order, and pages, every tenth of which may hold one."""
    draw = random.Random(1)
    plain = sorted({word for word in words if word.isascii() and word.isalpha()})
    items = [(" ".join(draw.choices(plain, k=30)), " ".join(draw.choices(plain, k=4))) for _ in range(ITEMS)]
    texts = []
    for number in range(pages):
        start = draw.randrange(len(words) - 400)
        page = " ".join(words[start : start + 400])
        if planted and number % 10 == 0:
            cases = (str.upper, str.lower, str.title)
            item = "".join(draw.choice(cases)(word) + draw.choice(AROUND) for word in " ".join(items[number]).split())
            page = f"{page}\n{item}{page}"
        texts.append(page)
    path.write_text(json.dumps({"items": items, "pages": texts}), encoding="utf-8")
    return path


def test_contamination_vs_datatrove(compare: Compare, text: Texts, tmp_path: Path) -> None:
    peer = Side("datatrove", sides.datatrove, python=PEERS)
    if peer.version() is None:
        compare.unmeasured(f"{NAME} vs datatrove", "datatrove is not installed: make peers-data", "≥ 50×")
    within = Compare(Path(sides.__file__), compare.subject, compare.report, compare.benchmark)
    path = made(words_of(text.prose), True, PAGES, tmp_path / "planted.json")
    run = within(NAME, Side("pylm", sides.ours), [peer], rounds=3, path=str(path))
    assert run.samples[run.ours][0]["result"] == list(range(0, PAGES, 10))
    run.faster(50.0, than="datatrove")


def test_clean_pages(compare: Compare, text: Texts, tmp_path: Path) -> None:
    words = words_of(text.prose) + words_of(text.multilingual)
    path = str(made(words, False, CLEAN, tmp_path / "clean.json"))
    accused = len(compare.benchmark.pedantic(lambda: sides.ours(path)["result"], rounds=1, iterations=1))
    row = Row(f"{CLEAN:,} clean pages accused", accused, None, None, None, None, "0", "short" if accused else "met", "")
    compare.report.add(compare.subject, row)
    assert accused == 0
