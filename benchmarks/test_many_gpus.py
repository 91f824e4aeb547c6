"""Training on all GPUs of this machine: tokens a second beside one GPU's, what a save holds up, and kills of a process.

Weak scaling: each GPU has as many tokens a step however many there are. It needs two GPUs; its rows were measured
nowhere yet.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.report import Row
from tests.support.launched import launched
from tests.support.shards import write_shards

if TYPE_CHECKING:
    from benchmarks.gpu import Gpu

ROOT = Path(__file__).resolve().parent.parent
STEPS, KILLS = 60, 5
VOCABULARY, CONTEXT, ROWS = 50304, 1024, 16  # of a step, on each GPU
# gpt2-124m's shape: an option that is given twice counts as it was given last
SHAPE = ["--device", "cuda", "--n-layers", "12", "--n-heads", "12", "--d-model", "768", "--context-length",
         str(CONTEXT), "--precision", "bf16", "--determinism", "default", "--micro-batch", str(ROWS)]  # fmt: skip
QUIET = ["--save-every", "1000", "--eval-every", "1000"]


def why_not(gpus: int) -> str:
    """Why nothing can be compared on so many GPUs, empty where it can."""
    return "" if gpus > 1 else f"two GPUs train together or more, and this machine has {gpus}"


@pytest.fixture
def gpus(gpu: Gpu) -> int:
    """How many there are."""
    import torch

    count = torch.cuda.device_count()
    if why := why_not(count):
        pytest.skip(why)
    return count


def tokens_a_second(folder: Path, shards: Path, gpus: int, options: Sequence[str], rows: int, context: int) -> float:
    """The median over the second half of a run's steps, the first of which compile and measure."""
    words = [*options, "--batch-tokens", str(gpus * rows * context), "--max-steps", str(STEPS)]
    with launched(folder, shards, *words, gpus=gpus) as one:
        assert one.end(600) == 0, one.said
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    speeds = [line["tokens_per_second"] for line in lines if line.get("tokens_per_second")]
    return statistics.median(speeds[len(speeds) // 2 :])


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_all_are_nearly_as_many_times_as_fast(gpu: Gpu, gpus: int, parallel: str, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "data", VOCABULARY, np.random.default_rng(3), 4_000_000)
    found: list[float] = []

    def race() -> None:
        for count in (1, gpus):
            options = [*SHAPE, *QUIET, "--parallel", parallel]
            found.append(tokens_a_second(tmp_path / str(count), shards, count, options, ROWS, CONTEXT))

    gpu.benchmark.pedantic(race, rounds=1, iterations=1)
    one, together = found
    share = together / (gpus * one)
    verdict = "met" if share >= 0.9 else "short"
    name = f"{gpus} GPUs, {parallel}: tokens a second, beside {gpus} times one's"
    gpu.report.add(gpu.subject, Row(name, together, gpus * one, None, share, None, "≥ 0.9×", verdict, "tokens/s"))


def test_a_save_hardly_holds_the_loop_up(gpu: Gpu, gpus: int, tmp_path: Path) -> None:
    found: list[tuple[float, float]] = []
    gpu.benchmark.pedantic(lambda: found.extend(saves(gpus, tmp_path, "cuda")), rounds=1, iterations=1)
    held, whole = (statistics.median(column) for column in zip(*found, strict=True))
    verdict = "met" if held <= 0.05 * whole else "short"
    name = f"a save of {gpus} GPUs: what the loop waits, beside a synchronous one"
    gpu.report.add(gpu.subject, Row(name, held, whole, None, held / whole, None, "≤ 0.05×", verdict))


def saves(gpus: int, folder: Path, device: str) -> list[tuple[float, float]]:
    """Return of some saves the seconds that the loop waits, and those until they are durable, on the first process."""
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
    words += ["-m", "benchmarks.test_many_gpus", str(folder / "saves"), device]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
    return [(held, whole) for held, whole in json.loads(done.stdout.splitlines()[-1])]


def test_kills_of_a_process_cost_seconds(gpu: Gpu, gpus: int, tmp_path: Path) -> None:
    import random

    from benchmarks.test_faults import killed

    shards = write_shards(tmp_path / "data", VOCABULARY, np.random.default_rng(3), 4_000_000)
    more = [*SHAPE, "--batch-tokens", str(gpus * ROWS * CONTEXT), "--max-steps", "2000", "--keep-last", "2"]
    chance, seconds = random.Random(7), list[float]()

    def kills() -> None:
        with launched(tmp_path / "killed", shards, *more, "--max-restarts", str(KILLS), gpus=gpus) as one:
            one.until(lambda: any(one.out.glob("checkpoints/step_*")))
            seconds.extend(killed(one, chance, within_save=kill == 0) for kill in range(KILLS))

    gpu.benchmark.pedantic(kills, rounds=1, iterations=1)
    longest = max(seconds)
    name = f"{gpus} GPUs: from a kill to the first step, longest of {KILLS}"
    gpu.report.add(
        gpu.subject, Row(name, longest, None, None, None, None, "≤ 10 s", "met" if longest <= 10 else "short")
    )


def _saves(folder: str, device: str) -> None:
    """What one of the processes measures."""
    from benchmarks.test_sharded_checkpoints import held_up
    from pylm.training.torch_backend.parallel import Group
    from pylm.training.world import World

    group = Group(World.of_environment())
    found: Any = held_up(group, Path(folder), device)
    group.close()
    if group.world.leads:
        print(json.dumps(found))


if __name__ == "__main__":
    _saves(*sys.argv[1:])
