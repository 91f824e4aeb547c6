"""Other thresholds for a folder that stands: the files of cleaning anew with them, or one sentence."""

from __future__ import annotations

import fcntl
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pylm.data.cleaning.rethreshold import rethreshold
from pylm.errors import DataError, PylmError, UsageError
from tests.data.cleaning.run.corpus import clean, digest, documents, lines, small_units, write_several


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_units(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_several(tmp_path / "texts", documents())


@pytest.mark.parametrize("more", [{}, {"compress": "zst"}, {"near": "fineweb", "keep": "longest"}, {"rehydrate": True}])
def test_it_is_what_cleaning_anew_gives_to_the_byte(source: Path, more: dict[str, Any]) -> None:
    clean(source, Path("then"), keep_removed=True, **more)
    draw = random.Random(3)
    for turn in range(3):
        thresholds = {
            "gopher.word_count": draw.randrange(20, 200),
            "fineweb.char_dup_ratio": draw.choice([None, 0.001]),
            "gopher.stop_words": draw.choice([None, 8]),
            "repetition.top_2_gram": draw.uniform(0.02, 0.2),
        }
        now = rethreshold("then", thresholds, out=f"now{turn}")
        fresh = clean(source, Path(f"fresh{turn}"), keep_removed=True, set=thresholds, **more)
        assert digest(Path(f"now{turn}")) == digest(fresh.folder)
        assert now.after["kept"] == fresh.manifest["kept"]["documents"]
        assert {one["reason"]: one["documents"] for one in fresh.manifest["removed"]} == {
            name: count for name, count in now.after.items() if name != "kept"
        }
        assert clean(source, Path(f"now{turn}"), keep_removed=True, set=thresholds, **more).found
    back = rethreshold("now0", {"gopher.word_count": 50, "fineweb.char_dup_ratio": 0.01, "gopher.stop_words": 2,
                                "repetition.top_2_gram": 0.2}, out="back")  # fmt: skip
    assert back.after == rethreshold("then", {"gopher.word_count": 50}).before
    assert [path.read_bytes() for path in sorted(Path("back").glob("text_*"))] == [
        path.read_bytes() for path in sorted(Path("then").glob("text_*"))
    ]


def test_text_that_was_cleaned_before_is_cleaned_anew_to_the_byte(tmp_path: Path) -> None:
    rows = [{**row, "cluster": 7, "cluster_size": 2} for row in documents() for _ in range(2)]
    source = write_several(tmp_path / "texts", rows)
    thresholds = {"gopher.word_count": 150}
    clean(source, Path("then"), keep_removed=True)
    rethreshold("then", thresholds, out="now")
    fresh = clean(source, Path("fresh"), keep_removed=True, set=thresholds)
    assert digest(Path("now")) == digest(fresh.folder)


def test_counts_are_told_and_the_folder_stays_as_it_is(source: Path) -> None:
    clean(source, Path("then"))
    before = digest(Path("then"))
    told = rethreshold("then", ["gopher.word_count=off"])
    removed = Counter(line["reason"] for line in lines(Path("then"), "removed"))
    assert told.before == {**removed, "kept": len(lines(Path("then"), "text"))}
    assert sum(told.after.values()) == told.documents == sum(told.before.values())
    assert told.after["kept"] > told.before["kept"] and "gopher_short_doc" not in told.after
    assert digest(Path("then")) == before


def test_stricter_thresholds_need_no_removed_text_and_others_say_so(source: Path) -> None:
    clean(source, Path("then"), set={"gopher.word_count": 60})
    rethreshold("then", {"gopher.word_count": 100}, out="less")
    fresh = clean(source, Path("fresh"), set={"gopher.word_count": 100})
    for kind in ("text", "removed"):
        assert lines(Path("less"), kind) == lines(fresh.folder, kind)
    with pytest.raises(UsageError, match=r"\d+ documents come back, and then does not hold their text") as refused:
        rethreshold("then", {"gopher.word_count": 30}, out="more")
    assert "keep_removed" in str(refused.value.hint)
    assert not Path("more").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("gopher.word_cuont=1", "there is no rule gopher.word_cuont"),
        ("c4.javascript=off", "c4.javascript decides what is measured or written"),
        ("symbols.digit_ratio=0.1", "symbols.digit_ratio was not measured: the rules were fineweb"),
        ("gopher.word_count=many", "gopher.word_count takes a number or null"),
        ("gopher.word_count", "gopher.word_count sets nothing"),
    ],
)
def test_what_cannot_be_decided_anew_is_one_sentence(source: Path, given: str, said: str) -> None:
    clean(source, Path("then"))
    with pytest.raises(PylmError, match=said) as refused:
        rethreshold("then", [given])
    assert refused.value.hint or "takes" in said


def test_folders_that_are_none(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no cleaned text"):
        rethreshold(source, ["gopher.word_count=1"])
    clean(source, Path("then"))
    clean(source, Path("other"), rules="none")
    with pytest.raises(DataError, match="other holds text cleaned with"):
        rethreshold("then", ["gopher.word_count=100"], out="other")
    with pytest.raises(UsageError, match="both read and written"):
        rethreshold("then", ["gopher.word_count=100"], out=tmp_path / "then")
    (Path("then") / "manifest.json").unlink()
    with pytest.raises(DataError, match="then is not finished"):
        rethreshold("then", ["gopher.word_count=1"])


def test_a_folder_that_others_write_is_left_alone(source: Path) -> None:
    clean(source, Path("then"))
    parts = Path("now/.parts")
    parts.mkdir(parents=True)
    with (parts / "rank_0.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for force in (False, True):
            with pytest.raises(DataError, match="other processes are writing"):
                rethreshold("then", {"gopher.word_count": 60}, out="now", force=force)
    assert sorted(path.name for path in Path("now").iterdir()) == [".parts"]
    with pytest.raises(UsageError, match="memory is -1"):
        rethreshold("then", {"gopher.word_count": 60}, memory=-1)
