"""An export or an import that is killed anywhere leaves the whole folder or none."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pylm
from tests.interchange.runs import small_run

ENDLESS = """
import itertools, os, shutil, sys, time, pylm
to, source = sys.argv[1:]

def write(number):
    if to == "import":
        pylm.import_(source, out=f"out-{number}")
    else:
        pylm.export(source, to=to, out=f"out-{number}", certify=False)

write(-2)  # which imports what it needs
begun = time.perf_counter()
write(-1)
print(time.perf_counter() - begun, flush=True)
shutil.rmtree("out--2")
shutil.rmtree("out--1")
for _ in sys.stdin:
    if child := os.fork():
        print(child, flush=True)
        os.waitpid(child, 0)
        print("dead", flush=True)
        continue
    for number in itertools.count():
        write(number)
        if number > 3:
            shutil.rmtree(f"out-{number - 3}")
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def made(to: str, source: str, out: str) -> Path:
    if to == "import":
        return pylm.import_(source, out=out).path
    return pylm.export(source, to=to, out=out, certify=False).path


def wrong_after_kills(to: str, source: str, kills: int) -> list[str]:
    """Return the folders that are there and not what they should be, after so many kills at any microsecond."""
    wanted, draw, wrong, seen = contents(made(to, source, "whole")), random.Random(5), [], 0
    words = [sys.executable, "-c", ENDLESS, to, source]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as mother:
        assert mother.stdin is not None and mother.stdout is not None
        one = float(mother.stdout.readline())
        for _ in range(kills):
            print("again", file=mother.stdin, flush=True)
            child = int(mother.stdout.readline())
            time.sleep(one * (0.5 + 3 * draw.random()))
            os.kill(child, signal.SIGKILL)
            assert mother.stdout.readline() == "dead\n"
            numbers = sorted(int(path.name.removeprefix("out-")) for path in Path().glob("out-*"))
            seen += len(numbers)
            for number in numbers:
                folder = Path(f"out-{number}")
                if number > numbers[-1] - 3 and contents(folder) != wanted:  # older ones it was removing itself
                    wrong.append(str(folder))
                shutil.rmtree(folder)
        mother.stdin.close()
    assert seen or kills < 10
    assert all(path.name.startswith(".partial-") for path in Path().glob(".*"))
    return wrong


@pytest.mark.parametrize("to", ["hf", "gguf", "import"])
def test_what_is_there_is_whole(to: str, request: pytest.FixtureRequest) -> None:
    if to == "gguf":
        pytest.importorskip("gguf")
    source = small_run(n_layers=1)
    if to == "import":
        source = str(pylm.export(source, to="hf", out="source").path)
    assert wrong_after_kills(to, source, 50 if request.config.getoption("--full") else 2) == []
