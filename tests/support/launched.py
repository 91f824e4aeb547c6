"""A small run of two processes, started by its command line and seen from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.shards import write_shards

__all__ = ["Launched", "launched", "rank_pid", "result", "trained_alone"]

SHAPE = {"n_layers": 1, "n_heads": 2, "d_model": 32, "context_length": 16}
KEYS: dict[str, Any] = {
    **{"device": "cpu", "compile": "off", "precision": "fp32", "micro_batch": 2, "batch_tokens": 128, "max_steps": 36},
    **{"save_every": 4, "keep_last": 20, "log_every": 1, "eval_every": 18, "determinism": "bitwise"},
}
PATIENCE = 120.0  # seconds for what takes five


def typed(out: Path, shards: Path, *more: str) -> list[str]:
    """Return the words of a small run, which sums the same in one process as in several."""
    options = [word for key, value in {**SHAPE, **KEYS}.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", "pylm", "train", "--data", str(shards), "--out", str(out), *options, *more]


def rank_pid(number: int, out: Path) -> int | None:
    """Return the pid of the process that is this rank of the run in a folder; None where there is none."""
    for folder in Path("/proc").iterdir():
        try:
            environ = (folder / "environ").read_bytes().split(b"\0")
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"RANK={number}".encode() in environ and str(out).encode() in words:
            return int(folder.name)
    return None


class Launched:
    """A run of two processes, seen from outside."""

    def __init__(self, out: Path, shards: Path, *more: str, gpus: int = 2, **environ: str) -> None:
        words = typed(out, shards, "--gpus", str(gpus), *more)
        environ = {**os.environ, "OMP_NUM_THREADS": "1", **environ}
        self.out = out
        self.process = subprocess.Popen(words, stdout=-1, stderr=-1, text=True, env=environ, cwd=shards.parent)
        self.said = ""

    def rank(self, number: int) -> int | None:
        """Return the pid of a rank; None where it is not there."""
        return rank_pid(number, self.out)

    def there(self, number: int) -> int:
        """Return the pid of a rank, once it is there."""
        while (pid := self.rank(number)) is None:
            time.sleep(0.01)
        return pid

    def kill(self, number: int, sends: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a rank that is there, and return its pid."""
        os.kill(pid := self.there(number), sends)
        return pid

    def step(self) -> int:
        """Return the last step that was written down."""
        try:
            lines = (self.out / "metrics.jsonl").read_text().splitlines()
        except OSError:
            return 0
        return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait."""
        deadline = time.monotonic() + PATIENCE
        while not reached():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self, patience: float = PATIENCE) -> int:
        """Return the code that it leaves with."""
        self.said = self.process.communicate(timeout=patience)[1]
        return self.process.returncode


@contextmanager
def launched(out: Path, shards: Path, *more: str, gpus: int = 2, **environ: str) -> Iterator[Launched]:
    """Start a run, and leave nothing of it behind."""
    one = Launched(out, shards, *more, gpus=gpus, **environ)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            for rank in (one.rank(0), one.rank(1)):
                if rank is not None:
                    os.kill(rank, signal.SIGKILL)
            one.process.kill()
            one.process.communicate()


def trained_alone(folder: Path) -> tuple[Path, Any]:
    """Return shards in a folder, and what one process makes of them, whose sums are those of several."""
    shards = write_shards(folder / "data", 64, np.random.default_rng(3), 20_000)
    with launched(folder / "alone", shards, gpus=1) as one:
        assert one.end() == 0, one.said
    return shards, result(folder / "alone")


def result(run: Path, steps: int = KEYS["max_steps"]) -> tuple[dict[str, bytes], list[tuple[int, Any, Any]]]:
    """Return all that the last checkpoint holds of the model, and the loss of each step."""
    last = run / "checkpoints" / f"step_{steps}"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    files = {path.name: path.read_bytes() for path in sorted(last.glob("*.safetensors"))}
    assert len(files) == 2
    return files, [(line["step"], line.get("loss"), line.get("val_loss")) for line in lines]
