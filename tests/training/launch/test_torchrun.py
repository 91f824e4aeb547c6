"""torchrun itself as the launcher, of the command and of a script: the run is that of one process, to the bit."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pylm
from tests.support.launched import KEYS, SHAPE, typed
from tests.support.shards import write_shards

STEPS = 9
RATE = {"schedule": "constant", "warmup_steps": 0}  # the same however many steps a call asks for
TWICE = f"""
import os, signal, sys
import pylm

def die_once(event):
    if type(event).__name__ == "Stepped" and event.step == 4 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)

keys = {{**{SHAPE!r}, **{KEYS!r}, **{RATE!r}, "save_every": 2, "on_event": die_once}}
pylm.train(data="data", out=sys.argv[1], **{{**keys, "max_steps": 6}})
run = pylm.train(out=sys.argv[1], resume="auto", max_steps={STEPS})
print(len(run.metrics()))
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torchrun")
    write_shards(folder / "data", 64, np.random.default_rng(3), 20_000)
    (folder / "twice.py").write_text(TWICE)
    return folder


@pytest.fixture(scope="module")
def expected(workplace: Path) -> list[bytes]:
    """Return what one process makes of it."""
    return weights(
        pylm.train(data=workplace / "data", out=workplace / "alone", **{**SHAPE, **KEYS, **RATE, "max_steps": STEPS})
    )


def weights(run: pylm.Run) -> list[bytes]:
    return [file.read_bytes() for file in sorted(run.path.glob(f"checkpoints/step_{STEPS}/*.safetensors"))]


def torchrun(workplace: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Have torchrun start two processes, with its defaults but for the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    return subprocess.run(
        [*command, *words],
        env={**environ, "OMP_NUM_THREADS": "1"},
        cwd=workplace,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_torchrun_starts_the_command(workplace: Path, expected: list[bytes]) -> None:
    words = typed(workplace / "command", workplace / "data", "--max-steps", str(STEPS))[1:]
    words += ["--schedule", "constant", "--warmup-steps", "0"]
    done = torchrun(workplace, *words)
    assert done.returncode == 0, done.stderr
    assert weights(pylm.Run(workplace / "command")) == expected and len(expected) == 2
    assert done.stderr.count("ms a step") <= 1  # the first process alone speaks


def test_a_script_trains_twice_and_goes_on_where_a_process_was_killed(workplace: Path, expected: list[bytes]) -> None:
    done = torchrun(workplace, "--max-restarts", "1", "twice.py", "script")
    assert done.returncode == 0, done.stderr
    run = pylm.Run(workplace / "script")
    assert weights(run) == expected
    assert (run.path / "resumes.jsonl").read_text().count("\n") == 2  # after the kill, and by the second call
