"""Out and in: what other programs compute of what we write, what it costs, and that it comes back as it was.

The engines are asked as `pylm export --certify` asks them. A model of each layout with random weights says how logits
differ; what fewer bits cost is measured on a small model that is trained here, whose likeliest token means something.
`PYTHONPATH` may name a folder with llama-cpp-python and mlx-lm.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Side
from benchmarks.report import Row
from benchmarks.test_soup import LARGEST, shape_of_all, weights

PACKAGES = {"hf": "transformers", "mlx": "mlx_lm", "gguf": "llama_cpp"}
ROPE: dict[str, Any] = {"n_layers": 4, "n_heads": 8, "n_kv_heads": 4, "d_model": 256, "context_length": 256}
LAYOUTS: dict[str, dict[str, Any]] = {
    "gpt2": {**ROPE, "n_kv_heads": 8, "norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True},
    "llama": ROPE,
    "qwen3": {**ROPE, "qk_norm": True},
    "qwen2": {**ROPE, "attention_bias": "qkv", "tied": False},
}
KILLS = 50


@dataclasses.dataclass(frozen=True)
class Copying(Side):
    """Copying a file, which comes with Python."""

    def version(self) -> str | None:
        return platform.python_version()


# the sides


def ours(folder: str, to: str = "hf", quantize: str = "none") -> dict[str, Any]:
    import pylm

    begun = time.perf_counter()
    pylm.export(f"{folder}/run", to=to, out=f"{folder}/out", quantize=quantize, certify=False)
    seconds = time.perf_counter() - begun
    shutil.rmtree(f"{folder}/out")
    return {"seconds": seconds}


def copied(folder: str) -> dict[str, Any]:
    begun = time.perf_counter()
    with open(f"{folder}/run/model.safetensors", "rb") as source, open(f"{folder}/copy", "wb") as made:
        shutil.copyfileobj(source, made, 1 << 22)
        made.flush()
        os.fsync(made.fileno())
    seconds = time.perf_counter() - begun
    os.unlink(f"{folder}/copy")
    return {"seconds": seconds}


# the material


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A folder with a checkpoint of GPT-2's smallest shape, 124M numbers in fp32."""
    from pylm.checkpoint import write
    from pylm.config.cascade import dump
    from pylm.config.schema import Config, Model

    folder = tmp_path_factory.mktemp("interchange")
    config = dump(Config(model=shape_of_all()), [f"model.{key}" for key in Model.model_fields])
    write(folder / "run", weights=weights(1), optimizer={}, state={"step": 1}, config=config, texts={})
    yield str(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model that has learned something of stories which are made here."""
    import pylm
    from pylm.data.stories import stories

    folder = tmp_path_factory.mktemp("trained")
    (folder / "stories.txt").write_text("<|endoftext|>".join(stories(2_000_000)))
    run = pylm.train(str(folder / "stories.txt"), preset="tiny", out=str(folder / "run"), max_steps=300, device="cpu")
    return str(run.path)


def random_run(folder: Path, layout: str) -> str:
    """A run of a layout, with a vocabulary trained on text of many scripts and weights large enough to be its own."""
    from pylm import Tokenizer
    from pylm.interchange.asked import texts_of
    from tests.generation.small import small_model, write_run

    words = Tokenizer.train(iter(texts_of([], 300_000, 0)), 2_000, pattern="gpt2", specials=["<|endoftext|>"])
    write_run(folder / layout, small_model(words.vocab_size, **LAYOUTS[layout]), words)
    return str(folder / layout)


def need(compare: Compare, name: str, to: str, bar: str) -> None:
    """End with a row that says so where the engine of a format is not here."""
    if any(importlib.util.find_spec(package) is None for package in (PACKAGES[to], *["gguf"] * (to == "gguf"))):
        compare.unmeasured(name, f"{PACKAGES[to]} is not installed", bar)


def row(compare: Compare, name: str, value: float, bar: float | None, unit: str, version: str | None = None) -> None:
    verdict = "" if bar is None else "met" if value <= bar else "short"
    told = "" if bar is None else f"≤ {bar:g} {unit}"
    compare.report.add(compare.subject, Row(name, value, None, version, None, None, told, verdict, unit))


# the rows


def test_cost_of_hugging_faces_folder(compare: Compare, gpt2: str) -> None:
    agree = lambda mine, theirs: True  # noqa: E731 - they make other things
    peer = Copying("python", copied, "copying its file")
    run = compare("124M fp32 to hf", Side("pylm", ours), [peer], rounds=3, agree=agree, folder=gpt2)
    run.leaner(1.5, than=peer.name, figure="seconds", unit="s")
    run.at_most(round(3 * LARGEST + 64))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("to", "bar"), [("hf", 1e-5), ("mlx", 1e-4), ("gguf", 1e-4)])
def test_logits_and_greedy(compare: Compare, layout: str, to: str, bar: float, tmp_path: Path) -> None:
    import pylm

    name = f"{layout} in {PACKAGES[to]}: largest difference of a logit, fp32"
    need(compare, name, to, f"≤ {bar:g}")

    def measured() -> Any:
        run = random_run(tmp_path, layout)
        return pylm.export(run, to=to, out=tmp_path / "out", certify=True).compared[0]

    found = compare.benchmark.pedantic(measured, rounds=1, iterations=1)
    is_table = (layout, to) == ("gpt2", "gguf")  # of GELU, in fp16
    row(compare, name, found.error, None if is_table else bar, "deviations", found.version)
    row(
        compare,
        f"{layout} in {PACKAGES[to]}: other greedy tokens of {found.greedy:,}",
        found.greedy_unlike,
        0,
        "tokens",
    )
    row(compare, f"{layout} in {PACKAGES[to]}: other tokens within the error", found.greedy_near, None, "tokens")
    row(compare, f"{layout} in {PACKAGES[to]}: texts with other ids of {found.texts:,}", found.texts_unlike, 0, "texts")


def test_eight_bits(compare: Compare, trained: str, tmp_path: Path) -> None:
    import pylm

    name = "Q8_0 of a trained tiny model in llama.cpp: share of prompts with another likeliest token"
    need(compare, name, "gguf", "≤ 0.01")

    def measured() -> Any:
        return pylm.export(trained, to="gguf", quantize="q8_0", out=tmp_path / "out", certify=True).compared[0]

    found = compare.benchmark.pedantic(measured, rounds=1, iterations=1)
    row(compare, name, 1 - found.first_alike, 0.01, "share", found.version)
    row(
        compare,
        "Q8_0 of a trained tiny model in llama.cpp: KL",
        max(found.divergence, 0.0),
        1e-3,
        "nats",
        found.version,
    )


def test_fifty_kills(compare: Compare, tmp_path: Path) -> None:
    from tests.interchange.test_kills import ENDLESS

    def measured() -> int:
        import pylm

        random_run(tmp_path / "runs", "llama")
        (tmp_path / "runs" / "llama").rename(tmp_path / "runs" / "a")
        wanted = pylm.export(tmp_path / "runs" / "a", to="hf", out=tmp_path / "whole", certify=False).files
        draw, wrong = random.Random(5), 0
        for _ in range(KILLS):
            words = [sys.executable, "-c", ENDLESS, "hf"]
            with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=tmp_path) as child:
                assert child.stdout is not None
                child.stdout.readline()
                time.sleep(draw.random() * 0.5)
                child.kill()
            for folder in tmp_path.glob("out-*"):
                wrong += {path.name: path.stat().st_size for path in folder.iterdir()} != wanted
                shutil.rmtree(folder)
        return wrong

    row(compare, f"{KILLS} kills: folders that load and are wrong", compare.benchmark.pedantic(measured), 0, "folders")
