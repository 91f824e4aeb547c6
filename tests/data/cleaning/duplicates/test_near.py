"""Near-duplicates by exact Jaccard, against plain Python that compares all pairs."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pylm import _rust
from pylm.errors import DataError, UsageError
from tests.data.cleaning.duplicates.plain_duplicates import (
    ALONE,
    clusters_of,
    edited,
    jaccard,
    pairs_of,
    passage,
    shingles,
)

ROOT = Path(__file__).resolve().parents[4]
FOX = "The quick brown fox jumps over the lazy dog, and then it sleeps."


def corpus(bases: int, copies: int, seed: int = 7) -> list[str]:
    """Passages, each with copies of which up to 40 % of the words are others, shuffled."""
    draw = random.Random(seed)
    texts = []
    for _ in range(bases):
        base = passage(draw, draw.randrange(20, 300))
        texts += [" ".join(edited(draw, base, draw.choice((0.01, 0.02, 0.04, 0.4)))) for _ in range(copies)]
    draw.shuffle(texts)
    return texts


def test_clusters_are_the_components_of_all_pairs_that_reach_the_threshold() -> None:
    texts = corpus(60, 15)
    pairs = pairs_of(texts)
    found = _rust.near_duplicates(texts)
    true = clusters_of(len(texts), (pair for pair, share in pairs.items() if share >= 0.8))
    # a pair at the threshold is missed once in a thousand; most documents have more than one partner
    wrong = int((found["near"] != true).sum())
    assert (true != ALONE).sum() > 200
    assert wrong <= 2
    assert found["left"] == 0
    linked = {tuple(sorted((int(first), number))) for number, first in enumerate(found["near"]) if first != ALONE}
    assert all(true[one] == true[other] for one, other in linked), "what no pair links is together"


@pytest.mark.parametrize("near", [0.5, 0.7, 0.8, 0.9])
def test_recall_follows_the_curve_of_the_bands(near: float) -> None:
    """Pairs of two documents each, so that no other document can link them."""
    draw, texts, found_of, expected_of = random.Random(int(near * 100)), [], {}, {}
    for _ in range(800):
        base = passage(draw, 100, 10**6)
        texts += [" ".join(base), " ".join(edited(draw, base, draw.uniform(0, 0.12)))]
    near_of = _rust.near_duplicates(texts, near=str(near))["near"]
    bands, rows = _rust.sketch_shape(near)
    for first in range(0, len(texts), 2):
        share = jaccard(shingles(texts[first], 5), shingles(texts[first + 1], 5))
        is_found = near_of[first + 1] == first
        assert not is_found or share >= near, "a pair below the threshold is together"
        if share >= near:
            bin_ = int(share * 20)
            found_of.setdefault(bin_, []).append(is_found)
            expected_of.setdefault(bin_, []).append(1 - (1 - share**rows) ** bands)
    for bin_, found in found_of.items():
        expected = np.array(expected_of[bin_])
        spread = 3 * np.sqrt((expected * (1 - expected)).sum()) + 1
        assert abs(sum(found) - expected.sum()) <= spread, f"Jaccard {bin_ / 20}: {sum(found)} of {len(found)}"


def test_four_of_300_words_are_found_and_thirty_are_not() -> None:
    draw, texts = random.Random(3), []
    for changed in [4] * 500 + [30] * 500:
        base = passage(draw, 300, 10**6)
        other = list(base)
        for at in range(changed):
            other[(2 * at + 1) * 300 // (2 * changed)] = f"new{at}"
        texts += [" ".join(base), " ".join(other)]
    near = _rust.near_duplicates(texts)["near"]
    assert (near[1:1000:2] == np.arange(0, 1000, 2)).all()
    assert (near[1000:] == ALONE).all()


def test_case_and_punctuation_are_no_difference_and_other_words_are() -> None:
    texts = [FOX, FOX.upper(), FOX.replace(" ", "\n -- "), FOX.replace("dog", "cat"), "", "!?", "!?"]
    found = _rust.near_duplicates(texts)
    assert found["near"].tolist() == [0, 0, 0, ALONE, ALONE, ALONE, ALONE]
    assert found["exact"].tolist() == [ALONE] * 5 + [5, 5]


def test_texts_of_fewer_words_than_a_shingle_are_compared_whole() -> None:
    texts = ["Click here now", "click here, now!", "click here", "now click here"]
    assert _rust.near_duplicates(texts)["near"].tolist() == [0, 0, ALONE, ALONE]


@pytest.mark.parametrize("script", ["ascii", "mixed", "han", "kana", "thai", "greek", "turkish", "devanagari", "odd"])
def test_sets_are_those_of_plain_python(script: str) -> None:
    """Random texts of one alphabet, where pairs share many shingles: each is found just where plain Python says."""
    alphabets = {
        "ascii": "abcdefgXYZ0189 ,.-_'\n\t",
        "mixed": "abÄö éÉß漢字かなไทย,. 12４５",
        "han": "漢字學習。,語言 模型A",
        "kana": "かなカナー漢、。 x",
        "thai": "สวัสดีครับ 12",
        "greek": "ΑΣσςβΓ άέ.",
        "turkish": "İIıiŞş ",
        "devanagari": "हिन्दी में क्या है। ",
        "odd": "a\u200db\u00ad\U0001f600 \x00\x1cÅ\u212bK\u0307ﬁ①½\U00010400",
    }
    draw = random.Random(script)
    texts = []
    for _ in range(60):
        base = draw.choices(alphabets[script], k=draw.randrange(1, 120))
        other = list(base)
        for _ in range(draw.randrange(4)):
            other[draw.randrange(len(other))] = draw.choice(alphabets[script])
        texts += ["".join(base), "".join(other)]
    for characters, length in ((False, 5), (True, 8)):
        pairs = [pair for pair, share in pairs_of(texts, length).items() if share >= 0.3]
        found = _rust.near_duplicates(texts, near="0.3", characters=characters)["near"]
        expected = clusters_of(len(texts), pairs)
        assert (found != expected).mean() <= 0.02, f"{characters=}"
        same = _rust.near_duplicates(texts, near="1", characters=characters)["near"]
        assert (
            same.tolist() == clusters_of(len(texts), (p for p, s in pairs_of(texts, length).items() if s == 1)).tolist()
        )


@pytest.mark.parametrize("near", ["0.8", "fineweb"])
def test_threads_and_memory_change_nothing(tmp_path: Path, near: str) -> None:
    """The memory of the second and third spills twice and more, whatever the draw."""
    texts = corpus(400, 15, seed=9)
    one = _rust.near_duplicates(texts, near=near, threads=1)
    assert (one["near"] != ALONE).sum() > 1000
    draw = random.Random(4)
    for threads, memory in (
        (2, 1),
        (4, 1),
        *((draw.randrange(1, 6), draw.choice((1, 1 << 22, 1 << 24))) for _ in "ab"),
    ):
        other = _rust.near_duplicates(texts, near=near, threads=threads, memory=memory, scratch=tmp_path)
        assert (other["exact"] == one["exact"]).all()
        assert (other["near"] == one["near"]).all()
        assert (other["compared"], other["left"]) == (one["compared"], one["left"])
    assert list(tmp_path.iterdir()) == []


def test_copies_are_compared_once(tmp_path: Path) -> None:
    """100,000 copies, some in capitals: as many comparisons as there are documents at most."""
    texts = [FOX, FOX.upper(), f"  {FOX}"] * 33_334
    found = _rust.near_duplicates(texts)
    assert (found["near"] == 0).all()
    assert found["exact"][:6].tolist() == [0, 1, 0, 0, 1, 0]
    assert found["compared"] == 1


def test_a_crowd_in_one_bucket_is_not_compared_with_itself() -> None:
    """Pages of one boilerplate and different contents share many bands; what is left out is counted."""
    draw = random.Random(5)
    boilerplate = " ".join(passage(draw, 60))
    texts = [f"{boilerplate} {' '.join(passage(draw, 40, 10**6))}" for _ in range(4000)]
    twins = [f"{text} end" for text in texts[::100]]
    found = _rust.near_duplicates(texts + twins)
    assert found["left"] > 0
    bands, _ = _rust.sketch_shape(0.8)
    assert found["compared"] <= 33 * bands * len(texts + twins)
    assert (found["near"][4000:] == np.arange(0, 4000, 100)).all()
    assert (found["near"][:4000][np.arange(4000) % 100 != 0] == ALONE).all()


def test_sets_of_hashes_are_compared_as_they_are() -> None:
    draw = np.random.default_rng(1)
    sets = [draw.integers(0, 2**64, 100, np.uint64) for _ in range(50)]
    sets += [np.concatenate((some[:95], some[:10])) for some in sets[:25]]
    starts = np.cumsum([0, *map(len, sets)]).astype(np.uint64)
    found = _rust.near_duplicate_sets(np.concatenate(sets), starts)["near"]
    assert found.tolist() == [*range(25), *[ALONE] * 25, *range(25)]


def test_a_full_disk_is_one_sentence_and_nothing_stays(tmp_path: Path) -> None:
    program = f"""
import resource, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.data.cleaning.duplicates.test_near import corpus
from pylm import _rust
from pylm.errors import DataError
texts = corpus(300, 15)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    _rust.near_duplicates(texts, memory=1, scratch={str(tmp_path)!r})
except DataError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"cannot write {tmp_path}") and "large" in done.stdout
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_bad_settings_are_one_sentence(tmp_path: Path) -> None:
    for near in ("0.2", "1.1", "nan", "simhash", ""):
        with pytest.raises(UsageError, match="near-duplicates"):
            _rust.near_duplicates(["a"], near=near)
    with pytest.raises(UsageError, match="a shingle of 0 words"):
        _rust.near_duplicates(["a"], shingle=0)
    with pytest.raises(UsageError, match="md5"):
        _rust.near_duplicates(["a"], hash="md5")
    with pytest.raises(UsageError, match="starts"):
        _rust.near_duplicate_sets(np.zeros(3, np.uint64), np.array([0, 4], np.uint64))
    (tmp_path / "file").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="no whole number"):
        _rust.cluster_sketches(tmp_path / "file")
