"""The files of a cleaned folder are the same to the byte, whoever makes them and however often that is cut short."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.data.cleaning.run.corpus import clean, digest, documents, small_units, write, write_several

EVERY = {
    "keep_removed": True, "lines": 3, "paragraphs": 3, "spans": 2, "pii": "tag", "keep": "longest", "rehydrate": True,
    "against": "quiz.jsonl", "ngram": 8, "url_list": "lists", "languages": ["en", "fr"], "compress": "zst",
    "rules": "c4", "set": {"c4.sentences": 3},
}  # fmt: skip
GIVEN = {
    "defaults": {},
    "every step": EVERY,
    "duplicates": {"rules": "none", "keep": "longest", "rehydrate": True, "keep_removed": True},
    "as FineWeb": {"near": "fineweb", "rules": "gopher", "set": {"gopher.word_count": 60}},
    "tags": {"tags_only": True, "near": 0.5, "rules": "c4"},
}


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_units(monkeypatch)
    words = documents()[3]["text"].split()
    write(Path("quiz.jsonl"), [{"query": " ".join(words[:9]), "choices": [" ".join(words[9:19]), "no"], "gold": 0}])
    Path("lists").mkdir()
    Path("lists/domains").write_text("a3.example\n")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_several(tmp_path / "texts", documents())


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_threads_and_ranks_change_no_byte(source: Path, given: dict[str, Any]) -> None:
    digests = set()
    for threads in (1, 2, 4):
        done = clean(source, Path(f"threads{threads}"), threads=threads, **given)
        assert done.plan["units"] > 5  # else nothing would be shared out
        digests.add(digest(done.folder))
    for order in ((0, 1, 2), (2, 0, 1)):
        folder = Path(f"ranks{order[0]}")
        shares = [clean(source, folder, rank=rank, world=3, threads=1, **given) for rank in order]
        assert [share.manifest is None for share in shares] == [True, True, False]
        assert shares[0].missing > shares[1].missing > 0
        digests.add(digest(folder))
    assert len(digests) == 1


def test_every_step_has_something_to_do(source: Path) -> None:
    manifest = clean(source, Path("out"), **EVERY).manifest
    report = json.loads(Path("out/report.json").read_text())
    gone = {one["reason"] for one in manifest["removed"] if one["documents"]}
    assert {"url", "contaminated", "empty"} <= gone and report["private"] and report["repairs"]
    assert any("cluster" in path.name for path in Path("out/tags").iterdir())


def test_a_hundred_kills_change_no_byte(source: Path) -> None:
    started = time.monotonic()
    whole = digest(clean(source, Path("whole"), threads=2, **EVERY).folder)
    takes = time.monotonic() - started
    draw, killed, folder = random.Random(7), 0, Path("killed")
    for _ in range(100):
        if (child := os.fork()) == 0:
            clean(source, folder, threads=2, **EVERY)
            os._exit(0)
        time.sleep(draw.uniform(0, takes))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        if (folder / "manifest.json").exists():  # it came to its end: the next ones begin again
            assert digest(clean(source, folder, **EVERY).folder) == whole
            folder = Path(f"killed{killed}-{draw.random()}")
    assert killed > 50
    assert digest(clean(source, folder, threads=1, **EVERY).folder) == whole
    assert not list(folder.glob(".*")) and not list(folder.glob("*.tmp*"))
