"""What `pylm plan` says against what `pylm train` then took: the most memory that its process held, and the time.

Memory is VmHWM, which Linux keeps of every process: the most that was resident. A limit on resident memory ends a
process that goes past it and no other, so a run that stays below prediction + margin lives under a limit set there.
(RLIMIT_AS and RLIMIT_DATA count what is only reserved, 0.8 GB of it in torch alone, and say nothing of that.)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks import report
from benchmarks.compare import Compare

GPT = "--norm layernorm --mlp gelu --position learned --bias"
SPEED = "--mlp relu2 --qk-norm --value-embeddings --residual-lambdas --no-tied --logit-softcap 15"
HELD_BACK = 3000  # tokens
# vocabulary, layers, heads, width, context, rows a pass, passes, precision, and other words
Shape = tuple[int, int, int, int, int, int, int, str, str]
DEFAULT: tuple[Shape, ...] = (
    (4096, 4, 4, 256, 256, 8, 1, "bf16", ""),
    (4096, 4, 4, 256, 256, 8, 1, "fp32", ""),
    (4096, 4, 4, 256, 256, 4, 2, "bf16", "--optimizer muon"),
    (4096, 4, 4, 256, 256, 4, 1, "bf16", GPT),
    (4096, 4, 4, 256, 256, 4, 1, "bf16", SPEED),
    (4096, 4, 4, 256, 256, 4, 1, "bf16", "--activation-checkpointing"),
    (16384, 2, 2, 128, 64, 16, 1, "bf16", ""),
    (512, 6, 6, 384, 64, 8, 1, "bf16", "--optimizer muon"),
    (50257, 2, 4, 256, 128, 4, 1, "bf16", GPT),
    (32000, 2, 4, 512, 128, 2, 1, "fp32", ""),
    (2048, 3, 3, 192, 1024, 1, 2, "bf16", SPEED),
    (4096, 4, 4, 256, 256, 4, 1, "bf16", "--eval-every 1 --max-steps 3"),
)
MORE: tuple[Shape, ...] = tuple(
    (vocabulary, layers, heads, width, context, rows, passes, precision, words)
    for vocabulary, layers, heads, width, context, rows, passes in (
        (512, 8, 4, 256, 512, 2, 1),
        (2048, 12, 3, 192, 128, 4, 1),
        (4096, 2, 8, 512, 128, 4, 1),
        (16384, 4, 6, 384, 128, 4, 2),
        (32000, 3, 4, 256, 256, 2, 1),
        (50257, 4, 4, 256, 64, 8, 1),
    )
    for precision, words in (
        ("bf16", ""),
        ("fp32", ""),
        ("bf16", "--optimizer muon"),
        ("fp32", "--optimizer muon --no-tied"),
        ("bf16", GPT),
        ("fp32", GPT),
        ("bf16", f"{SPEED} --optimizer muon"),
        ("fp32", SPEED),
        ("bf16", "--activation-checkpointing"),
    )
)
TIMED: tuple[Shape, ...] = DEFAULT[:6] + MORE[2:8]
CHILD = """
import sys
from pylm.cli import run
code = run(sys.argv[1:])
held = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("held", code, int(held.split()[1]) * 1024)
"""


class Answer(NamedTuple):
    """What a command printed, and what its process held."""

    out: str
    code: int
    held: int


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plan")


def tokens(folder: Path, vocabulary: int) -> Path:
    """A folder of tokens that mean nothing, as nanoGPT's prepare.py writes one."""
    where = folder / str(vocabulary)
    if not where.exists():
        where.mkdir()
        for split, count in (("train", 400_000), ("val", HELD_BACK)):
            np.random.default_rng(count).integers(0, vocabulary, count).astype("<u2").tofile(where / f"{split}.bin")
    return where


def words_of(folder: Path, shape: Shape) -> list[str]:
    vocabulary, layers, heads, width, context, rows, passes, precision, more = shape
    sizes = {"n-layers": layers, "n-heads": heads, "d-model": width, "context-length": context, "micro-batch": rows}
    sizes |= {"grad-accum-steps": passes, "max-steps": 2, "eval-batches": 1, "vocab-size": vocabulary}
    told = ["--data", str(tokens(folder, vocabulary)), "--precision", precision, "--compile", "false"]
    given = more.split()
    for name, value in sizes.items():
        if f"--{name}" not in given:
            told += [f"--{name}", str(value)]
    return told + given


def pylm(folder: Path, *words: str) -> Answer:
    """Run a command in a process of its own, which remembers nothing of the others."""
    environment = os.environ | {"PYLM_CACHE": str(folder / "cache" / str(len(list(folder.iterdir()))))}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *words], capture_output=True, text=True, env=environment, cwd=folder, check=True
    )
    out, _, told = done.stdout.rpartition("held ")
    code, held = told.split()
    assert code == "0", f"{words}: {done.stderr}"
    return Answer(out, int(code), int(held))


def named(shape: Shape) -> str:
    vocabulary, layers, _, width, context, rows, passes, precision, more = shape
    kind = {GPT: "gpt2", SPEED: "speed", f"{SPEED} --optimizer muon": "speed --optimizer muon"}.get(more, more)
    return f"V {vocabulary:,} L {layers} d {width} T {context} {rows}×{passes} {precision} {kind}".strip()


def full(shapes: tuple[Shape, ...], default: tuple[Shape, ...]) -> list[Any]:
    return [
        pytest.param(shape, id=named(shape), marks=() if shape in default else pytest.mark.slow) for shape in shapes
    ]


@pytest.mark.parametrize("shape", full(DEFAULT + MORE, DEFAULT))
def test_memory(shape: Shape, folder: Path, compare: Compare) -> None:
    def race() -> tuple[dict[str, Any], int]:
        words = words_of(folder, shape)
        run = str(folder / f"run-{len(list(folder.iterdir()))}")
        return json.loads(pylm(folder, "plan", *words, "--no-probe", "--json").out), pylm(
            folder, "train", *words, "--out", run
        ).held

    plan, held = compare.benchmark.pedantic(race, rounds=1, iterations=1)
    error = plan["memory"] / held - 1
    lives = held <= plan["memory"] + plan["memory_margin"]
    verdict = "met" if abs(error) <= 0.1 and lives else "short" if lives else "dies"
    row = report.Row(f"memory, {named(shape)}", plan["memory"] / 1e6, held / 1e6, None, 1 + error, None, "0.90–1.10×",
                     verdict, "MB")  # fmt: skip
    compare.report.add("plan", row)
    assert lives, f"planned {plan['memory']:,} ± {plan['memory_margin']:,} bytes, held {held:,}"


@pytest.mark.parametrize("shape", [pytest.param(shape, id=named(shape)) for shape in TIMED])
def test_time(shape: Shape, folder: Path, compare: Compare, pytestconfig: pytest.Config) -> None:
    """The run's own clock, evaluations and saves counted, against the plan at the speed probed before and after."""
    wanted = 600.0 if pytestconfig.getoption("--full") else 20.0

    def race() -> tuple[float, float, float]:
        words = [*words_of(folder, shape), "--json"]
        step = json.loads(pylm(folder, "plan", *words).out)["seconds_per_step"]
        steps = str(max(int(wanted / step), 3))
        words[words.index("--max-steps") + 1] = steps
        words += ["--eval-every", str(max(int(steps) // 3, 1))]
        before = json.loads(pylm(folder, "plan", *words).out)["seconds"]
        took = json.loads(pylm(folder, "train", *words, "--out", str(folder / f"timed-{steps}-{len(words)}")).out)
        after = json.loads(pylm(folder, "plan", *words).out)["seconds"]
        return before, took["seconds"], after

    before, took, after = compare.benchmark.pedantic(race, rounds=1, iterations=1)
    planned = (before + after) / 2
    ratio = planned / took
    verdict = "met" if abs(ratio - 1) <= 0.1 else "short"
    spread = (before / took, after / took)
    row = report.Row(f"time, {named(shape)}", planned, took, None, ratio, spread, "0.90–1.10×", verdict)
    compare.report.add("plan", row)


def test_a_thousand_devices(folder: Path, compare: Compare) -> None:
    """A billion parameters on 1,024 devices that are not here: seconds of the whole command, and what it held."""
    words = ["--preset", "llama-1b", "--vocab-size", "32000", "--max-tokens", "10B", "--batch-tokens", str(1 << 22)]
    words += ["--gpus", "1024", "--parallel", "fsdp", "--no-probe", "--json"]

    def race() -> tuple[float, Answer]:
        began = time.perf_counter()
        answer = pylm(folder, "plan", *words)
        return time.perf_counter() - began, answer

    seconds, answer = compare.benchmark.pedantic(race, rounds=1, iterations=1)
    plan = json.loads(answer.out)
    assert (plan["devices"], plan["parallel"]) == (1024, "fsdp") and plan["sent"] > 0
    for what, figure, bar, unit in (("time", seconds, 30.0, "s"), ("memory", answer.held / 1e6, 2000.0, "MB")):
        verdict = "met" if figure <= bar else "short"
        name = f"a plan for 1,024 devices: {what}"
        compare.report.add("plan", report.Row(name, figure, None, None, None, None, f"≤ {bar:g} {unit}", verdict, unit))
