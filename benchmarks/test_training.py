"""`pylm train` against a plain torch model and loop: speed on a CPU, what the loop costs, how soon the first step is.

The plain side is what one writes: GPT-2's layout with SDPA, fused AdamW, one forward and backward a step.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Side
from benchmarks.report import Row
from tests.support.shards import write_shards

LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 6, 6, 384, 256, 16
WARM = 2
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1000000000000", "MALLOC_TOP_PAD_": "268435456"}


@pytest.fixture(params=[4096, 50304])
def tokens(request: Any, tmp_path: Path) -> tuple[Path, int]:
    """A folder of shards of random ids, more likely the smaller they are, and its vocabulary."""
    import numpy as np

    vocabulary = int(request.param)
    return write_shards(tmp_path / f"ids-{vocabulary}", vocabulary, np.random.default_rng(1)), vocabulary


def gpt2(context: int = CONTEXT) -> list[str]:
    shape = {"n-layers": LAYERS, "n-heads": HEADS, "d-model": WIDTH, "context-length": context, "norm": "layernorm"}
    more = {"mlp": "gelu", "position": "learned", "bias": "true", "batch-tokens": BATCH * context}
    return [word for key, value in {**shape, **more}.items() for word in (f"--{key}", str(value))]


def steps_of(vocabulary: int) -> int:
    """Steps of a round: a large vocabulary's take seconds each in plain fp32."""
    return 9 if vocabulary < 10_000 else 5


def trained(data: str, *words: str, steps: int) -> list[dict[str, Any]]:
    """The lines of metrics of `pylm train` over some data, in this process."""
    import contextlib
    import tempfile

    from pylm.cli import run

    with tempfile.TemporaryDirectory() as folder:
        words = words if "--out" in words else (*words, "--out", f"{folder}/run")
        line = ["train", "--data", data, "--max-steps", str(steps), "--log-every", "1"]
        with contextlib.redirect_stdout(sys.stderr):
            code = run([*line, "--eval-every", "null", "--save-every", "null", "--json", *words])
        assert code == 0
        run_folder = Path(words[words.index("--out") + 1])
        lines = [json.loads(text) for text in (run_folder / "metrics.jsonl").read_text().splitlines()]
        return [line for line in lines if "lr" in line]


def step_seconds(found: list[dict[str, Any]]) -> float:
    """The median of the steps that are warm, each with a line; the speed in these is one over ten seconds."""
    return statistics.median(after["seconds"] - before["seconds"] for before, after in pairwise(found[WARM - 1 :]))


def ours(data: str, vocabulary: int, cores: int) -> dict[str, Any]:
    words = [*gpt2(), "--learning-rate", "1e-3", "--warmup-steps", "1", "--schedule", "constant"]
    found = trained(data, *words, steps=steps_of(vocabulary))
    return {"seconds": step_seconds(found), "result": found[-1]["loss"], "memory": found[-1]["memory"] / 1e6}


def rows_of(data: str, context: int) -> Callable[[int], tuple[Any, Any]]:
    """What draws rows of the training split and their targets, as tensors, the way a plain script does."""
    import numpy as np
    import torch

    ids = np.fromfile(Path(data) / "train_00000.bin", np.uint16).astype(np.int64)
    random = np.random.default_rng(5)

    def draw(count: int) -> tuple[Any, Any]:
        starts = random.integers(0, len(ids) - context - 1, count)
        rows = torch.from_numpy(np.stack([ids[start : start + context + 1] for start in starts]))
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()

    return draw


def plain(data: str, vocabulary: int, cores: int, precision: str, compiled: bool) -> dict[str, Any]:
    """One of torch's six ways."""
    import contextlib

    import torch

    from benchmarks.plain_torch import Plain, Size, optimizer_of

    torch.set_num_threads(cores)
    model = Plain(Size(LAYERS, HEADS, WIDTH, CONTEXT, vocabulary))
    if precision == "bf16":
        model = model.to(torch.bfloat16)
    optimizer = optimizer_of(model, 1e-3)
    step = torch.compile(model) if compiled else model
    draw, seconds, loss = rows_of(data, CONTEXT), [], None
    for _ in range(steps_of(vocabulary)):
        idx, targets = draw(BATCH)
        started = time.perf_counter()
        automatic = torch.autocast("cpu", torch.bfloat16) if precision == "autocast" else contextlib.nullcontext()
        with automatic:
            loss = step(idx, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss = float(loss.detach())
        seconds.append(time.perf_counter() - started)
    return {"seconds": statistics.median(seconds[WARM:]), "result": loss}


def eager_fp32(**given: Any) -> dict[str, Any]:
    return plain(**given, precision="fp32", compiled=False)


def eager_autocast(**given: Any) -> dict[str, Any]:
    return plain(**given, precision="autocast", compiled=False)


def eager_bf16(**given: Any) -> dict[str, Any]:
    return plain(**given, precision="bf16", compiled=False)


def compiled_fp32(**given: Any) -> dict[str, Any]:
    return plain(**given, precision="fp32", compiled=True)


def compiled_autocast(**given: Any) -> dict[str, Any]:
    return plain(**given, precision="autocast", compiled=True)


def compiled_bf16(**given: Any) -> dict[str, Any]:
    return plain(**given, precision="bf16", compiled=True)


def near(mine: float, peer: float) -> bool:
    """Losses of the same steps of two initialisations."""
    return abs(mine - peer) < 0.3


def bar_over_eager() -> float:
    """How much faster a step is to be: it depends on the processor's matrix units."""
    from pylm import _native

    features = set(_native.cpu_info()["features"])
    return 5.0 if "amx_bf16" in features else 2.2 if "avx512_bf16" in features else 1.2


def test_plain_torch_as_it_comes(compare: Compare, tokens: tuple[Path, int]) -> None:
    data, vocabulary = tokens
    run = compare(
        f"GPT-2 shape, V {vocabulary:,}, a step",
        Side("pylm", ours),
        [Side("torch", eager_fp32, label="eager fp32")],
        rounds=3 if vocabulary < 10_000 else 2,
        threads=cores(),
        agree=near,
        data=str(data),
        vocabulary=vocabulary,
        cores=cores(),
    )
    run.faster(bar_over_eager(), than="eager fp32")


def test_the_fastest_of_six_ways(compare: Compare, tokens: tuple[Path, int], pytestconfig: pytest.Config) -> None:
    data, vocabulary = tokens
    ways = [eager_autocast, eager_bf16]
    if pytestconfig.getoption("--full"):
        ways += [compiled_autocast, compiled_bf16]
    if vocabulary < 10_000:  # elsewhere fp32 takes four times as long, as the row above says
        ways += [eager_fp32, compiled_fp32] if pytestconfig.getoption("--full") else [eager_fp32]
    given = {"data": str(data), "vocabulary": vocabulary, "cores": cores()}
    peers = [Side("torch", way, label=way.__name__.replace("_", " "), environment=KEPT) for way in ways]
    peers = compare.fastest(peers, 2, threads=cores(), **given)
    run = compare(
        f"GPT-2 shape, V {vocabulary:,}, memory kept, a step",
        Side("pylm", ours, environment=KEPT),
        peers,
        rounds=3 if vocabulary < 10_000 else 2,
        threads=cores(),
        agree=near,
        **given,
    )
    run.faster(bar_over_the_fastest(vocabulary), than=run.best())


def bar_over_the_fastest(vocabulary: int) -> float:
    """What the fastest of torch's ways must take, of our time: more where bfloat16 is multiplied in hardware."""
    from pylm import _native

    if "avx512_bf16" not in _native.cpu_info()["features"]:
        return 1.0
    return 1.6 if vocabulary < 10_000 else 1.5


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def overhead(data: str) -> dict[str, Any]:
    """The share of a run's time that is not in the backend's step, with a line of metrics every ten."""
    from pylm.training import run
    from pylm.training.torch_backend import TorchBackend

    inside = [0.0, 0.0, 0.0]
    step, train = TorchBackend.step, run.train_to_the_end

    def timed_step(self: Any, *given: Any) -> Any:
        started = time.perf_counter()
        found = step(self, *given)
        inside[0] += time.perf_counter() - started
        return found

    def timed_train(session: Any) -> Any:
        session.hooks.evaluate = None
        started = time.perf_counter()
        found = train(session)
        inside[1] += time.perf_counter() - started
        return found

    TorchBackend.step, run.train_to_the_end = timed_step, timed_train  # type: ignore[method-assign]
    trained(data, "--preset", "tiny", "--log-every", "10", "--save-every", "null", steps=60)
    return {"seconds": inside[1], "result": None, "percent": 100 * (1 - inside[0] / inside[1])}


def test_what_the_loop_costs(compare: Compare, tmp_path: Path) -> None:
    import numpy as np

    data = write_shards(tmp_path / "ids", 4096, np.random.default_rng(1))
    run = compare(
        "a model of 1.4 M parameters, time outside of steps", Side("pylm", overhead), rounds=3, data=str(data)
    )
    run.at_most(2.0, figure="percent", unit="%")


def saving(data: str) -> dict[str, Any]:
    """The share of the default 500 steps between two checkpoints that the loop waits for one to be taken."""
    found = trained(data, "--preset", "tiny", "--log-every", "10", "--save-every", "10", steps=60)
    each = sum(line["phase"].get("save", 0.0) for line in found) / 5
    step = statistics.median(4096 / line["tokens_per_second"] for line in found)
    return {"seconds": each, "result": None, "percent": 100 * each / (500 * step)}


def test_what_saving_costs(compare: Compare, tmp_path: Path) -> None:
    import numpy as np

    data = write_shards(tmp_path / "ids", 4096, np.random.default_rng(1))
    run = compare("a checkpoint every 500 steps, time the loop waits", Side("pylm", saving), rounds=2, data=str(data))
    run.at_most(1.0, figure="percent", unit="%")


FIRST_STEP = """
import os, sys, time
from pylm.cli import main
from pylm.training import record
def first(session, result):
    print(time.time(), flush=True)
    os._exit(0)
record.watch = first
main()
"""


def first_step(data: str) -> dict[str, Any]:
    """The seconds from nothing to the end of the first step; the second time, when all is remembered."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYLM_CACHE": f"{folder}/cache"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range(2):
            command = [
                sys.executable,
                "-c",
                FIRST_STEP,
                "train",
                "--data",
                data,
                "--preset",
                "tiny",
                "--max-steps",
                "9",
            ]
            started = time.time()
            done = subprocess.run(
                [*command, "--out", f"{folder}/run-{number}"],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            seconds = float(done.stdout.split()[-1]) - started
    return {"seconds": seconds, "result": None}


def importing_torch(data: str) -> dict[str, Any]:
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-c", "import torch, time; print(time.time())"], capture_output=True, text=True, check=True
    )
    return {"seconds": float(done.stdout) - started, "result": None}


def test_the_first_step_is_soon(compare: Compare, tmp_path: Path) -> None:
    import numpy as np

    data = write_shards(tmp_path / "ids", 4096, np.random.default_rng(1))
    peers = [Side("torch", importing_torch, label="import torch")]
    run = compare("to the first step, warm", Side("pylm", first_step), peers, rounds=5, data=str(data))
    run.leaner(1.3, than="import torch", figure="seconds", unit="s")


def what_speed_costs(data: str, folder: str, seeds: int, steps: int) -> dict[str, Any]:
    """Validation losses of `pylm train` as it comes and of plain torch in eager fp32, on the same batches."""
    import torch

    from pylm.config.cascade import resolve
    from pylm.config.shape import complete
    from pylm.data import Loader
    from pylm.model.torch import Model
    from pylm.runs import read_lines
    from tests.support.plain_llama import PlainLlama, Recipe

    shape = complete(resolve(preset="tiny", environ={}).config.model, vocabulary_of(data))
    context, rows, pairs = shape.context_length or 0, 4, []
    for seed in range(1, seeds + 1):
        out = f"{folder}/run-{seed}"
        words = ["--preset", "tiny", "--batch-tokens", str(rows * context), "--eval-batches", "null"]
        trained(data, *words, "--seed", str(seed), "--log-every", "100", "--out", out, steps=steps)
        (evaluated,) = [line for line in read_lines(Path(out, "metrics.jsonl")) if "val_loss" in line]
        weights = Model(shape, generator=torch.Generator().manual_seed(seed)).weights()
        plain = PlainLlama(weights, Recipe(layers=4, heads=4, steps=steps, learning_rate=2e-3, warmup=50))
        loader = Loader(data, context, rows, seed=seed)
        for number in range(steps):
            batch = loader.batch(number)
            plain.step(batch.inputs, batch.targets)
        windows = Loader(data, context, 1, split="val", seed=0).windows
        held = Loader(data, context, windows, split="val", seed=0).batch(0)
        pairs.append((evaluated["val_loss"], plain.mean_loss(held.inputs, held.targets)))
    return {"seconds": 0.0, "result": pairs}


def vocabulary_of(data: str) -> int:
    return int(json.loads(Path(data, "manifest.json").read_text())["vocab_size"])


@pytest.mark.slow
def test_what_speed_costs(compare: Compare, tmp_path: Path) -> None:
    """Not in rounds: the figure is a loss, and the three seeds are its rounds."""
    from pylm.cli import run
    from pylm.data.stories import stories

    text = tmp_path / "stories.txt"
    text.write_text("".join(stories(3_000_000)), encoding="utf-8")
    data = tmp_path / "data"
    assert run(["tokenize", str(text), "--vocab-size", "1024", "--val", "0.02", "--out", str(data)]) == 0
    found: list[dict[str, Any]] = []
    given = {"data": str(data), "folder": str(tmp_path), "seeds": 3, "steps": 1000}
    compare.benchmark.pedantic(lambda: found.append(what_speed_costs(**given)), rounds=1, iterations=1)
    pairs = found[0]["result"]
    print(pairs)
    away = [ours - plain for ours, plain in pairs]
    for which, figure, bar in (("mean", abs(statistics.fmean(away)), 0.01), ("largest", max(map(abs, away)), None)):
        name = f"validation loss after 1,000 steps away from eager fp32, {which} of 3 seeds"
        verdict = "" if bar is None else "met" if figure <= bar else "short"
        row = Row(name, figure, None, None, None, None, "" if bar is None else f"≤ {bar}", verdict, "")
        compare.report.add("training", row)


GPU_PRESETS = {"gpt2-124m": None, "llama-110m": 2048}
GPU_TOKENS, GPU_ROWS, GPU_CONTEXT, GPU_VOCABULARY, GPU_STEPS = 524_288, 32, 1024, 50304, 12


def gpu_ours(data: str, preset: str) -> dict[str, Any]:
    """A run long enough would compile; this one is told to, so that it need not last."""
    words = ["--preset", preset, "--micro-batch", str(GPU_ROWS), "--compile", "true", "--warmup-steps", "1"]
    found = trained(data, *words, "--learning-rate", "6e-4", "--schedule", "constant", steps=GPU_STEPS)
    seconds, last = step_seconds(found), found[-1]
    mfu = 100 * last["mfu"] / last["tokens_per_second"] * GPU_TOKENS / seconds
    return {"seconds": seconds, "result": last["loss"], "memory": last["memory"] / 1e9, "mfu": mfu}


def gpu_plain(data: str, preset: str) -> dict[str, Any]:
    """NanoGPT's way: compiled, SDPA, autocast to bfloat16, fused AdamW, the same micro-batch."""
    import torch

    from benchmarks.plain_torch import Plain, Size, optimizer_of

    torch.set_float32_matmul_precision("high")
    model = Plain(Size(12, 12, 768, GPU_CONTEXT, GPU_VOCABULARY, GPU_PRESETS[preset])).to("cuda")
    step, optimizer = torch.compile(model), optimizer_of(model, 6e-4)
    passes = GPU_TOKENS // GPU_ROWS // GPU_CONTEXT
    draw, seconds, found = rows_of(data, GPU_CONTEXT), [], 0.0
    for _ in range(GPU_STEPS):
        batches = [tuple(part.pin_memory() for part in draw(GPU_ROWS)) for _ in range(passes)]
        torch.cuda.synchronize()
        started = time.perf_counter()
        total = torch.zeros((), device="cuda")
        for idx, targets in batches:
            with torch.autocast("cuda", torch.bfloat16):
                loss = step(idx.to("cuda", non_blocking=True), targets.to("cuda", non_blocking=True)) / passes
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        found = float(total)
        seconds.append(time.perf_counter() - started)
    memory = torch.cuda.max_memory_allocated() / 1e9
    return {"seconds": statistics.median(seconds[WARM:]), "result": found, "memory": memory}


@pytest.mark.parametrize("preset", sorted(GPU_PRESETS))
def test_a_gpu_against_torch_compiled(compare: Compare, preset: str, tmp_path: Path) -> None:
    import numpy as np
    import torch

    if not torch.cuda.is_available():
        pytest.skip("measures a CUDA GPU, and torch sees none here")
    data = write_shards(tmp_path / "ids", GPU_VOCABULARY, np.random.default_rng(1), count=8_000_000)
    peer = Side("torch", gpu_plain, label="compile + SDPA")
    run = compare(
        f"{preset}, a step of {GPU_TOKENS:,} tokens",
        Side("pylm", gpu_ours),
        [peer],
        rounds=3,
        agree=near,
        data=str(data),
        preset=preset,
    )
    run.faster(1.25, than=peer.name)
    run.leaner(0.6, than=peer.name, figure="memory", unit="GB")
    run.at_least(50, figure="mfu", unit="%")
