"""The rules: the same decisions for the same reasons as datatrove's filters, and how fast they are taken.

The peer asks for an environment of its own: `make peers-data`. FineWeb-2's files of rules are looked for in `configs`
of the folder of corpora.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.clean import chain_sides as sides
from benchmarks.compare import Compare, Run, Side
from benchmarks.corpora import SEPARATOR, Texts
from benchmarks.report import Row

PEERS = str(Path(__file__).resolve().parent.parent.parent / ".venv" / "peers-data" / "bin" / "python")
PASSAGES = 20_000
LANGUAGES = ["cmn_Hani", "jpn_Jpan", "spa_Latn", "deu_Latn", "fra_Latn", "fas_Arab", "por_Latn", "rus_Cyrl"]
LANGUAGES += ["arb_Arab", "vie_Latn", "tur_Latn", "kor_Hang", "ell_Grek", "hin_Deva", "mar_Deva"]
SAMPLE = 4_000_000  # bytes of text that datatrove takes less than a minute for
APART = 20  # every so manieth document is judged with words that are not shared


def decided(compare: Compare, title: str, least: float, how: Any, **given: Any) -> None:
    """A row: the share of texts that both decide alike, for the same reason and leaving the same text."""
    peer = Side("datatrove", how, python=PEERS)
    bar = f"≥ {least:g} %" if least < 100 else "100 %"
    if peer.version() is None:
        compare.unmeasured(title, "datatrove is not installed: make peers-data", bar)
    within = Compare(Path(sides.__file__), compare.subject, compare.report, compare.benchmark)
    answer: dict[str, Any] = {}
    compare.benchmark.pedantic(lambda: answer.update(within.once(peer, timeout=3600, **given)), rounds=1, iterations=1)
    for ours, theirs, count in answer["reasons"]:
        if ours != theirs:
            print(f"{title}: {count} times {theirs} there and {ours} here")
    share = 100 * answer["equal"] / answer["texts"]
    row = Row(title, share, None, peer.version(), None, None, bar, "met" if share >= least else "short", "%")
    compare.report.add(compare.subject, row)
    assert share >= least, answer["different"][:5]


def corpora(text: Texts) -> list[str]:
    return [str(text.prose), str(text.multilingual)]


@pytest.mark.parametrize("rules", ["fineweb", "gopher", "c4"])
def test_the_same_decisions(compare: Compare, text: Texts, rules: str) -> None:
    title = f"{rules}: decisions equal, all documents and {PASSAGES:,} passages, words shared"
    decided(compare, title, 100, sides.shared, paths=corpora(text), name=rules, count=PASSAGES)


def test_the_same_decisions_by_language(compare: Compare, text: Texts) -> None:
    title = f"fineweb2: decisions equal, {len(LANGUAGES)} languages by FineWeb-2's files, words shared"
    folder = text.folder / "configs" if text.folder else None
    if folder is None or not folder.is_dir():
        compare.unmeasured(title, "FineWeb-2's files are not in configs of --corpora", "100 %")
    given = {"paths": corpora(text), "folder": str(folder), "languages": LANGUAGES, "count": PASSAGES // 40}
    decided(compare, title, 100, sides.by_language, **given)


@pytest.mark.parametrize("rules", ["fineweb", "gopher", "c4"])
def test_nearly_the_same_decisions(compare: Compare, text: Texts, rules: str) -> None:
    title = f"{rules}: decisions equal, prose and passages, datatrove with its own words"
    given = {"paths": [str(text.prose)], "name": rules, "count": PASSAGES // APART, "step": APART}
    decided(compare, title, 99, sides.apart, **given)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chain")


def lines_of(path: Path, size: int, out: Path) -> str:
    """Documents of a corpus as jsonl: every so manieth, about so many bytes of text."""
    if not out.exists():
        documents = path.read_text(encoding="utf-8").split(SEPARATOR)
        every = max(1, path.stat().st_size // size)
        lines = (json.dumps({"id": str(number), "text": text}) for number, text in enumerate(documents[::every]))
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(out)


def test_chain_vs_datatrove(compare: Compare, text: Texts, sample: Path) -> None:
    """Text in memory to decisions."""
    run = race(compare, text, "English chain, 2 processes", sides.chain, sample)
    run.at_least(150, "rate", "MB/s")


def test_command_vs_datatrove(compare: Compare, text: Texts, sample: Path) -> None:
    """The command does more: it names languages, mends characters, hides addresses and drops copies."""
    race(compare, text, "pylm data clean --near off, 2 threads", sides.command, sample)


def race(compare: Compare, text: Texts, name: str, ours: Any, folder: Path) -> Run:
    """Ours reads all of the prose and datatrove a sample of it: what a gigabyte would take is compared."""
    peer = Side("datatrove", sides.datatrove, "datatrove, 2 workers", python=PEERS)
    if peer.version() is None:
        compare.unmeasured(f"{name} vs {peer.name}", "datatrove is not installed: make peers-data", "≥ 50×")
    within = Compare(Path(sides.__file__), compare.subject, compare.report, compare.benchmark)
    every = lines_of(text.prose, text.prose.stat().st_size, folder / "every.jsonl")
    part = lines_of(text.prose, SAMPLE, folder / "sample.jsonl")
    run = within(name, Side("pylm", ours), [peer], rounds=3, every=every, sample=part)
    run.faster(50, than=peer.name, figure="a gigabyte")
    return run
