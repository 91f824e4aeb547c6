"""FineWeb's MinHash to the bit: against plain Python and numpy always, against datatrove itself where it is."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pylm import _rust
from tests.data.cleaning.duplicates import plain_fineweb
from tests.data.cleaning.duplicates.plain_duplicates import ALONE, clusters_of, edited, passage

ROOT = Path(__file__).resolve().parents[4]
PEERS = ROOT / ".venv" / "peers-data" / "bin" / "python"
ODD = [
    "",
    "four words are few",
    "Five words are just enough",
    "Prices: 1,234.56 and 3.14.15, v2.0.1; 12:30 on 01/02/2024 — ٣٫٥ and १२३,४५ or ⎖5",
    "ΟΔΥΣΣΕΥΣ Σ ΣΑΣ. İstanbul İ ſharp ẞ Straße ﬁne Ångström K Å é e\u0301 ῒ ` \u1fef \u037e \u0387",
    "a\u00a0b\u2003c\u3000d\u2028e\x85f\x1cg\x0bh\x00i\u200bj\u00adk",
    "漢字かなカナ、。「」 한국어 문장입니다 สวัสดีครับ हिन्दी में é̂",
    "\u0301\u0302 starts with marks and ends so \u0301 \u0302",
    "don't can't I'm e.g. U.S.A. www.example.com/a?b=c a_b-c d/e \U0001f600 \U0001d7d8\U0001d7d9",
]


def corpus() -> list[str]:
    draw = random.Random(11)
    texts = list(ODD)
    for _ in range(60):
        base = passage(draw, draw.randrange(5, 200), 500)
        for share in (0, 0.01, 0.03, 0.06, 0.1, 0.3):
            words = edited(draw, base, share)
            texts.append("".join(word + draw.choice((" ", ", ", ". ", "! \n")) for word in words))
    return texts


def test_parameters_are_numpys() -> None:
    factors, summands = _rust.fineweb_parameters()
    expected = plain_fineweb.parameters()
    assert (factors, summands) == (expected[0][0].tolist(), expected[1][0].tolist())


def test_texts_are_simplified_as_in_plain_python() -> None:
    for text in corpus():
        assert _rust.fineweb_simplified(text) == plain_fineweb.simplified(text), text
    draw = random.Random(1)
    letters = "".join(ODD) + "0123456789.,٫ "
    for _ in range(2000):
        text = "".join(draw.choices(letters, k=draw.randrange(12)))
        assert _rust.fineweb_simplified(text) == plain_fineweb.simplified(text), text


@pytest.mark.parametrize("hash_name", ["xxh64", "sha1"])
def test_signatures_and_clusters_are_those_of_plain_python(hash_name: str) -> None:
    texts = corpus()
    expected = [plain_fineweb.signature(_rust.words_of(_rust.fineweb_simplified(text)), hash_name) for text in texts]
    assert expected[1] is None and expected[2] is not None
    for text, signature in zip(texts, expected, strict=True):
        assert _rust.fineweb_signature(text, hash_name) == signature, text
    firsts: dict[tuple[int, ...], int] = {}
    pairs = []
    for number, signature in enumerate(expected):
        for bucket in range(14 if signature else 0):
            key = (bucket, *signature[8 * bucket : 8 * bucket + 8])
            pairs.append((firsts.setdefault(key, number), number))
    found = _rust.near_duplicates(texts, near="fineweb", hash=hash_name)["near"]
    assert found.tolist() == clusters_of(len(texts), pairs).tolist()
    assert 50 < (found != ALONE).sum() < 340


@pytest.fixture(scope="module")
def datatrove() -> dict[str, Any]:
    if not PEERS.exists():
        pytest.skip("datatrove is not installed: make peers-data")
    texts = corpus()
    # blocks of sentences that several documents share
    draw = random.Random(4)
    shared = [" ".join(passage(draw, 8)).capitalize() + "." for _ in range(60)]
    for _ in range(150):
        at = draw.randrange(55)
        own = [f"Own sentence {draw.random()} stands here." for _ in range(draw.randrange(4))]
        text = own + shared[at : at + draw.randrange(2, 6)] + own[:1]
        texts.append(draw.choice(("  ", "")) + draw.choice((" ", "  ", "\n")).join(text) + draw.choice(("", "\n")))
    given = {
        "texts": texts,
        "words": {simple: _rust.words_of(simple) for simple in map(_rust.fineweb_simplified, texts)},
        "sentences": {text: _rust.sentence_spans(text) for text in texts},
    }
    command = [str(PEERS), str(Path(__file__).parent / "datatrove_child.py")]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {"texts": texts, **json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("hash_name", ["xxh64", "sha1"])
def test_signatures_and_clusters_are_datatroves(datatrove: dict[str, Any], hash_name: str) -> None:
    texts, theirs = datatrove["texts"], datatrove[hash_name]
    assert [_rust.fineweb_simplified(text) for text in texts] == datatrove["simplified"]
    assert [_rust.fineweb_signature(text, hash_name) for text in texts] == theirs["signatures"]
    by_cluster: dict[int, list[int]] = {}
    for document, cluster in theirs["clusters"]:
        by_cluster.setdefault(cluster, []).append(document)
    pairs = [(members[0], member) for members in by_cluster.values() for member in members[1:]]
    found = _rust.near_duplicates(texts, near="fineweb", hash=hash_name)["near"]
    assert found.tolist() == clusters_of(len(texts), pairs).tolist()
    assert len(pairs) > 50


def test_three_sentence_spans_go_as_with_datatrove(datatrove: dict[str, Any]) -> None:
    texts, expected = datatrove["texts"], datatrove["spans"]
    found = _rust.without_repeats(texts, "spans", 1)
    assert sum(one != other for one, other in zip(texts, found, strict=True)) > 50
    assert found == expected


def test_copies_and_short_texts() -> None:
    """Fewer than five words are nobody's near-duplicate; as copies they are known."""
    found = _rust.near_duplicates(["so few words", "so few words", "a b c d e", "a b c d e"], near="fineweb")
    assert found["near"].tolist() == [ALONE, ALONE, 2, 2]
    assert found["exact"].tolist() == [0, 0, 2, 2]
