"""An export that is killed anywhere leaves the whole folder or none."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pylm
from tests.interchange.runs import small_run

ENDLESS = """
import itertools, shutil, sys, pylm
print("ready", flush=True)
for number in itertools.count():
    pylm.export("runs/a", to=sys.argv[1], out=f"out-{number}", certify=False)
    if number > 3:
        shutil.rmtree(f"out-{number - 3}")
"""


@pytest.mark.parametrize("to", ["hf", "gguf"])
def test_what_is_there_is_whole(to: str) -> None:
    if to == "gguf":
        pytest.importorskip("gguf")
    small_run(n_layers=1)
    wanted = {
        name: size for name, size in pylm.export("runs/a", to=to, out="whole").files.items() if name != "README.md"
    }
    draw = random.Random(3)
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", ENDLESS, to], stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        time.sleep(0.2 + 0.3 * draw.random())
        child.kill()
        child.wait()
        child.stdout.close()
        made = sorted(Path().glob("out-*"), key=lambda path: path.stat().st_mtime)[-2:]
        for folder in made:
            assert {path.name: path.stat().st_size for path in folder.iterdir() if path.name != "README.md"} == wanted
            name = next(iter(sorted(wanted)))
            assert (folder / name).read_bytes() == Path("whole", name).read_bytes()
        assert all(path.name.startswith(".partial-") for path in Path().glob(".*"))
