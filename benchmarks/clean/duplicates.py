"""Near-duplicates from text: how fast, and how many of the pairs are found, of every Jaccard.

Passages of the corpora; every second one has an edited copy, with 0 to 40 % of its words changed. A pair is found where
both of its texts have a partner. The peers ask for an environment of their own: `make peers-data`.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.clean import duplicates_sides as sides
from benchmarks.compare import Compare, Run, Side
from benchmarks.corpora import SEPARATOR, Texts
from benchmarks.report import Row

ROOT = Path(__file__).resolve().parent.parent.parent
PEERS = str(ROOT / ".venv" / "peers-data" / "bin" / "python")
ALONE = 0xFFFFFFFF
EDGES = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.01)
SHARES = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.4)

Answer = dict[str, Any]


def passages(text: Texts, count: int) -> tuple[list[str], list[tuple[int, int]]]:
    """Shuffled texts of 100 to 400 words, and which of them are a passage and its copy."""
    draw = random.Random(1)
    cut = [words for source in (text.prose, text.multilingual) for words in runs(source, draw, count // 3)]
    texts = [" ".join(words) for words in cut]
    pairs = []
    for number in range(0, len(cut), 2):
        words = list(cut[number])
        for at in draw.sample(range(len(words)), round(draw.choice(SHARES) * len(words))):
            words[at] = f"changed{draw.randrange(10**6)}"
        pairs.append((number, len(texts)))
        texts.append(" ".join(words))
    order = draw.sample(range(len(texts)), len(texts))
    place = {number: at for at, number in enumerate(order)}
    return [texts[number] for number in order], [(place[one], place[other]) for one, other in pairs]


def runs(source: Path, draw: random.Random, count: int) -> list[list[str]]:
    """Passages of a corpus that stand far apart."""
    documents = [d.split() for d in source.read_text(encoding="utf-8").split(SEPARATOR)]
    found = []
    for words in documents:
        at = 0
        while at + 100 < len(words):
            length = draw.randrange(100, 400)
            found.append(words[at : at + length])
            at += length
    return draw.sample(found, min(count, len(found)))


def jaccard(one: str, other: str) -> float:
    sets = []
    for text in (one, other):
        words = re.findall(r"\w+", text.lower())
        sets.append({tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def flags(answer: Answer) -> list[bool]:
    """Which documents have a partner."""
    if "flags" in answer:
        return list(answer["flags"])
    clusters: list[int] = answer["clusters"]
    sizes: dict[int, int] = {}
    for cluster in clusters:
        sizes[cluster] = sizes.get(cluster, 0) + 1
    return [cluster != ALONE and sizes[cluster] > 1 for cluster in clusters]


class Found:
    """What sides find of planted pairs, by their Jaccard."""

    def __init__(self, texts: list[str], pairs: list[tuple[int, int]]) -> None:
        """The pairs by bins of Jaccard."""
        self.texts = texts
        self.bins: list[list[tuple[int, int]]] = [[] for _ in EDGES[1:]]
        for one, other in pairs:
            share = jaccard(texts[one], texts[other])
            for bin_, (low, high) in enumerate(zip(EDGES, EDGES[1:], strict=False)):
                if low <= share < high:
                    self.bins[bin_].append((one, other))

    def recall(self, answer: Answer, least: float) -> list[float]:
        """The share of the pairs that is found, of each bin from `least` on."""
        found = flags(answer)
        return [
            sum(found[one] and found[other] for one, other in pairs) / max(1, len(pairs))
            for low, pairs in zip(EDGES, self.bins, strict=False)
            if low >= least
        ]

    def precision(self, clusters: list[int], threshold: float) -> float:
        """The share of documents with a partner that have one of at least this Jaccard in their cluster."""
        members: dict[int, list[int]] = {}
        for number, cluster in enumerate(clusters):
            if cluster != ALONE:
                members.setdefault(cluster, []).append(number)
        right = [
            any(jaccard(self.texts[one], self.texts[other]) >= threshold for other in some if other != one)
            for some in members.values()
            for one in some
        ]
        return sum(right) / max(1, len(right))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("duplicates")


def race(
    compare: Compare,
    text: Texts,
    folder: Path,
    name: str,
    ours: Callable[..., Answer],
    peer: Side,
    bar: float,
    count: int,
    least: float = 0.8,
    rounds: int = 3,
) -> Run:
    """Rows of speed and recall; our recall is at least the peer's, bin by bin, before anything is timed."""
    if peer.version() is None:
        compare.unmeasured(f"{name} vs {peer.name}", f"{peer.package} is not installed: make peers-data", f"≥ {bar:g}×")
    texts, pairs = passages(text, count)
    path = folder / f"{count}.json"
    path.write_text(json.dumps(texts), encoding="utf-8")
    found = Found(texts, pairs)
    within = Compare(Path(sides.__file__), compare.subject, compare.report, compare.benchmark)
    one, other = within.once(Side("pylm", ours), path=str(path)), within.once(peer, path=str(path))
    recalls = [found.recall(answer, least) for answer in (one, other)]
    print(f"{name}: recall {recalls[0]}, {peer.name} {recalls[1]}, pairs {[len(pairs) for pairs in found.bins]}")
    assert all(mine >= theirs for mine, theirs in zip(*recalls, strict=True)), recalls
    if least == 0.8:
        precision = found.precision(one["clusters"], 0.8)
        verdict = "met" if precision >= 0.99 else "short"
        row = Row(f"{name}: precision", 100 * precision, None, None, None, None, "≥ 99 %", verdict, "%")
        compare.report.add(compare.subject, row)
    run = within(name, Side("pylm", ours), [peer], rounds=rounds, agree=lambda mine, theirs: True, path=str(path))
    run.faster(bar, than=peer.name)
    return run


def test_near_duplicates_vs_datatrove(compare: Compare, text: Texts, folder: Path) -> None:
    peer = Side("datatrove", sides.datatrove, "datatrove, four stages", python=PEERS)
    race(compare, text, folder, "near-duplicates of texts", sides.near, peer, 50, 3000, rounds=2)


def test_fineweb_vs_datatrove(compare: Compare, text: Texts, folder: Path) -> None:
    peer = Side("datatrove", sides.datatrove, "datatrove, four stages", python=PEERS)
    race(compare, text, folder, "FineWeb's MinHash of texts", sides.near_fineweb, peer, 50, 3000, least=2, rounds=2)


def test_near_duplicates_vs_rensa(compare: Compare, text: Texts, folder: Path) -> None:
    peer = Side("rensa", sides.rensa_exact, "rensa, R-MinHash of all tokens", python=PEERS)
    race(compare, text, folder, "near-duplicates of texts", sides.near, peer, 5, 20_000)


def test_near_duplicates_vs_fastsketch(compare: Compare, text: Texts, folder: Path) -> None:
    peer = Side("fastsketchlsh", sides.fastsketch, "FastSketchLSH", python=PEERS)
    race(compare, text, folder, "near-duplicates of texts", sides.near, peer, 1.5, 20_000)


def test_prepared_vs_fastsketch(compare: Compare, text: Texts, folder: Path) -> None:
    peer = Side("fastsketchlsh", sides.fastsketch_prepared, "FastSketchLSH, prepared", python=PEERS)
    race(compare, text, folder, "near-duplicates of sets of hashes", sides.ours_prepared, peer, 1, 20_000, rounds=5)
