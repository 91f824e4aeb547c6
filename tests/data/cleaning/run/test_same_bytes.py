"""The files of a cleaned folder are the same to the byte, whoever makes them and however often that is cut short."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.data.cleaning.run.corpus import clean, digest, documents, small_units, write_several

ALL = {"keep_removed": True, "lines": 3, "pii": "tag", "keep": "longest", "rehydrate": True}


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_units(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_several(tmp_path / "texts", documents())


@pytest.mark.parametrize("compress", [None, "zst"])
def test_threads_and_ranks_change_no_byte(source: Path, compress: str | None) -> None:
    given = {**ALL, "compress": compress}
    digests = set()
    for threads in (1, 2, 4):
        done = clean(source, Path(f"threads{threads}"), threads=threads, **given)
        assert done.plan["units"] > 5 and len(done.manifest["files"]) > 9  # else nothing would be shared out
        digests.add(digest(done.folder))
    for order in ((0, 1, 2), (2, 0, 1)):
        folder = Path(f"ranks{order[0]}")
        shares = [clean(source, folder, rank=rank, world=3, threads=1, **given) for rank in order]
        assert [share.manifest is None for share in shares] == [True, True, False]
        assert shares[0].missing > shares[1].missing > 0
        digests.add(digest(folder))
    assert len(digests) == 1


def test_a_hundred_kills_change_no_byte(source: Path) -> None:
    started = time.monotonic()
    whole = digest(clean(source, Path("whole"), threads=2, **ALL).folder)
    takes = time.monotonic() - started
    draw, killed, folder = random.Random(7), 0, Path("killed")
    for _ in range(100):
        if (child := os.fork()) == 0:
            clean(source, folder, threads=2, **ALL)
            os._exit(0)
        time.sleep(draw.uniform(0, takes))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        if (folder / "manifest.json").exists():  # it came to its end: the next ones begin again
            assert digest(clean(source, folder, **ALL).folder) == whole
            folder = Path(f"killed{killed}-{draw.random()}")
    assert killed > 50
    assert digest(clean(source, folder, threads=1, **ALL).folder) == whole
    assert not list(folder.glob(".*")) and not list(folder.glob("*.tmp*"))
