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
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Side

LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 6, 6, 384, 256, 16
WARM = 2
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1000000000000", "MALLOC_TOP_PAD_": "268435456"}


@pytest.fixture(params=[4096, 50304])
def tokens(request: Any, tmp_path: Path) -> tuple[Path, int]:
    """A folder of shards of random ids, more likely the smaller they are, and its vocabulary."""
    import numpy as np

    vocabulary = int(request.param)
    return write_shards(tmp_path / f"ids-{vocabulary}", vocabulary, np.random.default_rng(1)), vocabulary


def write_shards(folder: Path, vocabulary: int, random: Any, count: int = 600_000) -> Path:
    import numpy as np

    folder.mkdir()
    splits = {}
    for split, size in (("train", count), ("val", 20_000)):
        ids = np.minimum((vocabulary * random.random(size) ** 3).astype(np.uint16), vocabulary - 1)
        ids.tofile(folder / f"{split}_00000.bin")
        np.array([0, size], np.uint64).tofile(folder / f"{split}_00000.idx")
        shard = {"file": f"{split}_00000.bin", "tokens": size, "documents": 1, "hash": str(int(ids.sum()))}
        splits[split] = {"tokens": size, "documents": 1, "text_bytes": 3 * size, "shards": [shard]}
    manifest = {"dtype": "uint16", "vocab_size": vocabulary, "tokenizer": "random", "splits": splits}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


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
        line = ["train", "--data", data, "--out", f"{folder}/run", "--max-steps", str(steps), "--log-every", "1"]
        with contextlib.redirect_stdout(sys.stderr):
            code = run([*line, "--eval-every", "null", "--save-every", "null", "--json", *words])
        assert code == 0
        lines = [json.loads(text) for text in Path(folder, "run/metrics.jsonl").read_text().splitlines()]
        return [line for line in lines if "lr" in line]


def ours(data: str, vocabulary: int, cores: int) -> dict[str, Any]:
    words = [*gpt2(), "--learning-rate", "1e-3", "--warmup-steps", "1", "--schedule", "constant"]
    found = trained(data, *words, steps=steps_of(vocabulary))
    seconds = [BATCH * CONTEXT / line["tokens_per_second"] for line in found[WARM:]]
    return {"seconds": statistics.median(seconds), "result": found[-1]["loss"], "memory": found[-1]["memory"] / 1e6}


def plain_model(vocabulary: int) -> Any:
    """GPT-2 as one writes it."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x: Any) -> Any:
            batch, length, _ = x.shape
            q, k, v = self.qkv(self.first(x)).view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
            o = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(o.transpose(1, 2).reshape(batch, length, WIDTH))
            return x + self.down(functional.gelu(self.up(self.second(x)), approximate="tanh"))

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.position = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
            self.blocks, self.norm = nn.ModuleList(Block() for _ in range(LAYERS)), nn.LayerNorm(WIDTH)
            for parameter in self.parameters():
                if parameter.dim() > 1:
                    nn.init.normal_(parameter, 0.0, 0.02)

        def forward(self, idx: Any, targets: Any) -> Any:
            x = self.embed(idx) + self.position(torch.arange(idx.shape[1]))
            for block in self.blocks:
                x = block(x)
            logits = functional.linear(self.norm(x), self.embed.weight)
            return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    torch.manual_seed(1)
    return Plain()


def plain(data: str, vocabulary: int, cores: int, precision: str, compiled: bool) -> dict[str, Any]:
    """One of torch's six ways."""
    import contextlib

    import numpy as np
    import torch

    torch.set_num_threads(cores)
    model = plain_model(vocabulary)
    if precision == "bf16":
        model = model.to(torch.bfloat16)
    decayed = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    step = torch.compile(model) if compiled else model
    ids = np.fromfile(Path(data) / "train_00000.bin", np.uint16).astype(np.int64)
    random, seconds, loss = np.random.default_rng(5), [], None
    for _ in range(steps_of(vocabulary)):
        starts = random.integers(0, len(ids) - CONTEXT - 1, BATCH)
        idx = torch.from_numpy(np.stack([ids[start : start + CONTEXT] for start in starts]))
        targets = torch.from_numpy(np.stack([ids[start + 1 : start + CONTEXT + 1] for start in starts]))
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
    ways = [eager_fp32, eager_autocast, eager_bf16]
    if pytestconfig.getoption("--full"):
        ways += [compiled_fp32, compiled_autocast, compiled_bf16]
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
    run.faster(1.0, than=run.best())


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def overhead(data: str) -> dict[str, Any]:
    """The share of a run's time that is not in the backend's step, with a line of metrics every ten."""
    from pylm.train import loop
    from pylm.train.torch_backend import TorchBackend

    inside = [0.0, 0.0, 0.0]
    step, train = TorchBackend.step, loop.train

    def timed_step(self: Any, *given: Any) -> Any:
        started = time.perf_counter()
        found = step(self, *given)
        inside[0] += time.perf_counter() - started
        return found

    def timed_train(session: Any) -> Any:
        session.evaluate = None
        started = time.perf_counter()
        found = train(session)
        inside[1] += time.perf_counter() - started
        return found

    TorchBackend.step, loop.train = timed_step, timed_train  # type: ignore[method-assign]
    trained(data, "--preset", "tiny", "--log-every", "10", "--save-every", "null", steps=60)
    return {"seconds": inside[1], "result": None, "percent": 100 * (1 - inside[0] / inside[1])}


def test_what_the_loop_costs(compare: Compare, tmp_path: Path) -> None:
    import numpy as np

    data = write_shards(tmp_path / "ids", 4096, np.random.default_rng(1))
    run = compare(
        "a model of 1.4 M parameters, time outside of steps", Side("pylm", overhead), rounds=3, data=str(data)
    )
    run.at_most(2.0, figure="percent", unit="%")


FIRST_STEP = """
import os, sys, time
from pylm.cli import main
from pylm.train import loop
def first(session, result, batch):
    print(time.time(), flush=True)
    os._exit(0)
loop._watch = first
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
    run = compare("to the first step, warm", Side("pylm", first_step), peers, rounds=3, data=str(data))
    run.leaner(1.3, than="import torch", figure="seconds", unit="s")
