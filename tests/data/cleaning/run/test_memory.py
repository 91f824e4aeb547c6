"""Cleaning holds no more of a large text than of a small one: blocks on their way, and what `--memory` allows."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.cleaning.run.corpus import WORDS, documents, write

PROGRAM = """
import json, sys
from pathlib import Path
import pylm
pylm.data.clean(sys.argv[1], out=sys.argv[2], memory="256M", threads=2, rules="gopher", set={"gopher.stop_words": 0})
status = Path("/proc/self/status").read_text().splitlines()
print(int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024)
"""


def peak(source: Path, out: Path) -> float:
    """The most memory, in MB, that a process had which cleaned a text."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(source), str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_a_large_text_takes_the_memory_of_a_small_one(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    megabytes = 300 if request.config.getoption("--full") else 30
    small = peak(write(tmp_path / "small.jsonl", documents()), tmp_path / "a")
    draw, large = random.Random(3), tmp_path / "large.jsonl"
    words = [f"{one}{ending}" for one in WORDS for ending in ("", "s", "ing", "ly", "er", "ed", "less", "ness")]
    with large.open("w", encoding="utf-8") as file:
        while file.tell() < megabytes << 20:
            texts = (" ".join(draw.choices(words, k=draw.randrange(60, 600))) for _ in range(200))
            file.write("".join(f'{{"id": {draw.randrange(10**9)}, "text": "{text}."}}\n' for text in texts))
    whole = peak(large, tmp_path / "b")
    print(f"{small:.0f} MB for a small text, {whole:.0f} MB for {megabytes} MB")
    assert whole - small < (256 if megabytes > 200 else 64), f"{whole - small:.0f} MB more"
