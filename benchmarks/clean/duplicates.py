"""Near-duplicates from text: how fast, and how many of the pairs are found, of every Jaccard.

Passages of the corpora; every second one has an edited copy, with 0 to 40 % of its words changed. A pair is found where
both of its texts have a partner. The peers ask for an environment of their own: `make peers-data`.
"""

from __future__ import annotations

import bisect
import collections
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import regex

from benchmarks.clean import duplicates_sides as sides
from benchmarks.compare import Compare, Side
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


Cut = Callable[[str], list[str]]
LONE = r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー]&&[\p{L}\p{M}\p{N}]]"
UNITS = regex.compile(rf"(?V1){LONE}|[[\p{{L}}\p{{M}}\p{{N}}]--{LONE}]+")


def by_letters(text: str) -> list[str]:
    """Words as we cut them."""
    return UNITS.findall(text.lower())


def by_spaces(text: str) -> list[str]:
    """Words as the peers are given them."""
    return text.lower().split()


def jaccard(one: str, other: str, cut: Cut) -> float:
    sets = []
    for words in (cut(one), cut(other)):
        sets.append({tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def flags(answer: Answer) -> list[bool]:
    """Which documents have a partner."""
    if "flags" in answer:
        return list(answer["flags"])
    clusters: list[int] = answer["clusters"]
    sizes = collections.Counter(clusters)
    return [cluster != ALONE and sizes[cluster] > 1 for cluster in clusters]


class Found:
    """What sides find of planted pairs, by their Jaccard."""

    def __init__(self, texts: list[str], pairs: list[tuple[int, int]], cuts: Sequence[Cut]) -> None:
        """The pairs by bins of Jaccard; where words are cut in two ways, those that lie in one bin by both."""
        self.texts = texts
        self.bins: list[list[tuple[int, int]]] = [[] for _ in EDGES[1:]]
        for one, other in pairs:
            at = {bisect.bisect(EDGES, jaccard(texts[one], texts[other], cut)) - 1 for cut in cuts}
            if len(at) == 1 and at != {-1}:
                self.bins[at.pop()].append((one, other))

    def recall(self, answer: Answer, least: float) -> list[float]:
        """The share of the pairs that is found, of each bin from `least` on."""
        found = flags(answer)
        return [
            sum(found[one] and found[other] for one, other in pairs) / max(1, len(pairs))
            for low, pairs in zip(EDGES, self.bins, strict=False)
            if low >= least
        ]

    def precision(self, clusters: list[int], threshold: float, cut: Cut) -> float:
        """The share of documents with a partner that have one of at least this Jaccard in their cluster."""
        members: dict[int, list[int]] = {}
        for number, cluster in enumerate(clusters):
            if cluster != ALONE:
                members.setdefault(cluster, []).append(number)
        right = [
            any(jaccard(self.texts[one], self.texts[other], cut) >= threshold for other in some if other != one)
            for some in members.values()
            for one in some
        ]
        return sum(right) / max(1, len(right))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("duplicates")


class Race:
    """Rows of speed and precision, of one set of passages."""

    def __init__(self, compare: Compare, text: Texts, folder: Path, count: int, cuts: Sequence[Cut]) -> None:
        """About as many passages as `count`, and half as many copies; a pair's Jaccard is by the words of `cuts`."""
        self.compare, self.count, self.cuts = compare, count, cuts
        self.within = Compare(Path(sides.__file__), compare.subject, compare.report, compare.benchmark)
        self.text, self.path = text, folder / f"{count}.json"

    def __call__(
        self,
        name: str,
        ours: Callable[..., Answer],
        peer: Side,
        bar: float,
        *,
        agree: Callable[[Found, Answer, Answer], None],
        rounds: int = 3,
    ) -> None:
        """Times both sides, after `agree` has found nothing amiss with what they found."""
        if peer.version() is None:
            why = f"{peer.package} is not installed: make peers-data"
            self.compare.unmeasured(f"{name} vs {peer.name}", why, f"≥ {bar:g}×")
        texts, pairs = passages(self.text, self.count)
        self.path.write_text(json.dumps(texts), encoding="utf-8")
        found = Found(texts, pairs, self.cuts)
        print(f"{name}: {len(texts)} texts, pairs by Jaccard from {EDGES[0]} on: {[len(some) for some in found.bins]}")

        def check(mine: Answer, theirs: Answer) -> bool:
            agree(found, mine, theirs)
            return True

        side = Side("pylm", ours)
        run = self.within(name, side, [peer], rounds=rounds, agree=check, path=str(self.path))
        run.faster(bar, than=peer.name)

    def better(self, found: Found, mine: Answer, theirs: Answer) -> None:
        """Our recall is at least the peer's in every bin, and what we find are near-duplicates; a row says how many."""
        recalls = [found.recall(answer, 0.8) for answer in (mine, theirs)]
        print(f"recall from 0.8 on: ours {recalls[0]}, the peer's {recalls[1]}")
        assert all(ours >= other for ours, other in zip(*recalls, strict=True)), recalls
        precision = found.precision(mine["clusters"], 0.8, self.cuts[0])
        assert precision >= 0.99, precision
        row = Row(f"{self.count} passages: precision", 100 * precision, None, None, None, None, "≥ 99 %", "met", "%")
        self.compare.report.add(self.compare.subject, row)


def alike(found: Found, mine: Answer, theirs: Answer) -> None:
    """The same documents have a partner, but for scripts without spaces, in which words are not the same at all."""
    spaced = [not regex.search(f"(?V1){LONE}", text) for text in found.texts]
    same = [one == other for one, other in zip(flags(mine), flags(theirs), strict=True)]
    share = sum(a and b for a, b in zip(same, spaced, strict=True)) / sum(spaced)
    print(f"of {sum(spaced)} texts with spaces {100 * share:.5g} % agree, of all {100 * sum(same) / len(same):.5g} %")
    print(f"recall from 0.7 on: ours {found.recall(mine, 0.7)}, the peer's {found.recall(theirs, 0.7)}")
    assert share >= 0.99, share


BOTH = (by_letters, by_spaces)


def test_near_duplicates_vs_datatrove(compare: Compare, text: Texts, folder: Path) -> None:
    peer = Side("datatrove", sides.datatrove, "datatrove, four stages", python=PEERS)
    race = Race(compare, text, folder, 3000, BOTH)
    race("near-duplicates of texts", sides.near, peer, 50, agree=race.better, rounds=2)


def test_fineweb_vs_datatrove(compare: Compare, text: Texts, folder: Path) -> None:
    peer = Side("datatrove", sides.datatrove, "datatrove, four stages", python=PEERS)
    race = Race(compare, text, folder, 3000, BOTH)
    race("FineWeb's MinHash of texts", sides.near_fineweb, peer, 50, agree=alike, rounds=2)


def test_near_duplicates_vs_rensa(compare: Compare, text: Texts, folder: Path) -> None:
    peer = Side("rensa", sides.rensa_exact, "rensa, R-MinHash of all tokens", python=PEERS)
    race = Race(compare, text, folder, 20_000, BOTH)
    race("near-duplicates of texts", sides.near, peer, 5, agree=race.better)


def test_near_duplicates_vs_fastsketch(compare: Compare, text: Texts, folder: Path) -> None:
    peer = Side("fastsketchlsh", sides.fastsketch, "FastSketchLSH", python=PEERS)
    race = Race(compare, text, folder, 20_000, BOTH)
    race("near-duplicates of texts", sides.near, peer, 1.5, agree=race.better)


def test_prepared_vs_fastsketch(compare: Compare, text: Texts, folder: Path) -> None:
    peer = Side("fastsketchlsh", sides.fastsketch_prepared, "FastSketchLSH, prepared", python=PEERS)
    race = Race(compare, text, folder, 20_000, (by_spaces,))
    race("near-duplicates of sets of hashes", sides.ours_prepared, peer, 1, agree=race.better, rounds=5)
