"""How long from a text to the bits per byte that a tuned plain torch reaches in a given time, and whose doing it is.

The baseline is a Llama of torch's own parts with fused AdamW, tuned by tune_peers.py, with a tokenizer of ours of the
same size. Ours then runs for shorter times; where its bits cross the baseline's is read between two runs, over the
logarithm of the time. The same with the baseline's recipe says what the kernels are worth, and the rest is the
recipe's; with a vocabulary four times as large, what the vocabulary is worth. By default a baseline of a minute and one
seed; five minutes and three seeds by --full.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks import corpora
from benchmarks.compare import Compare, Run, Side
from benchmarks.track import field
from benchmarks.track.plain import inner

BASELINE = "plain torch"
BARS = {"amx_bf16": 5.0, "avx512_bf16": 3.0}  # by what multiplies bfloat16
BAR = 2.0
FIRST = 0.25  # of the baseline's time
SHORTEST = 15.0  # seconds: reading the text and saving take some
CLOSER, TRIES = 1.6, 5  # a time after another, until the bits lie between two


def ours(settings: Mapping[str, str], **given: Any) -> dict[str, Any]:
    return field.ours(given["train"], given["held"], given["seconds"], given["seed"], settings=settings)


def plain_torch(shape: Mapping[str, Any], **given: Any) -> dict[str, Any]:
    return field.run(BASELINE, checkouts=None, shape=shape, **given)


def settings_of(shape: Mapping[str, Any]) -> dict[str, str]:
    """The baseline's recipe as keys of our configuration."""
    model = {"n_layers": shape["layers"], "n_heads": shape["heads"], "n_kv_heads": shape["heads"],
             "d_model": shape["width"], "context_length": shape["context"], "d_ff": inner(shape["width"]),
             "qk_norm": "false", "tied": "true", "zero_init": "false"}  # fmt: skip
    train = {"optimizer": "adamw", "learning_rate": shape["rate"], "embed_lr": "null", "head_lr": "null",
             "weight_decay": shape["decay"], "schedule": "cosine", "min_lr_ratio": 0.1, "warmup_steps": 100,
             "batch_tokens": shape["rows"] * shape["context"]}  # fmt: skip
    named = {f"PYLM_MODEL__{key.upper()}": str(value) for key, value in model.items()}
    return named | {f"PYLM_TRAIN__{key.upper()}": str(value) for key, value in train.items()}


def crossed(points: list[tuple[float, float]], bits: float) -> float | None:
    """The time at which the bits are reached, between the two runs around them; None where they lie to one side."""
    ordered = sorted(points)
    for (early, more), (late, fewer) in zip(ordered, ordered[1:], strict=False):
        if more > bits >= fewer:
            share = (more - bits) / (more - fewer)
            return math.exp(math.log(early) + share * (math.log(late) - math.log(early)))
    return None


def time_to(bits: float, first: float, run: Callable[[float], float]) -> float:
    """The seconds after which `run`, which gives the bits of so many seconds, has reached these."""
    points: list[tuple[float, float]] = []
    seconds = first
    for _ in range(TRIES):
        points.append((seconds, run(seconds)))
        if (found := crossed(points, bits)) is not None:
            return found
        seconds = seconds * CLOSER if points[-1][1] > bits else max(seconds / CLOSER, SHORTEST)
        if seconds in (time for time, _ in points):
            return seconds  # reached in the shortest time that there is: no longer than this
    return math.inf


def test_to_the_bits_of_a_tuned_baseline(
    compare: Compare, pytestconfig: pytest.Config, text: corpora.Texts, tmp_path: Path
) -> None:
    from pylm.track.held_out import cut

    full = pytestconfig.getoption("--full")
    seconds = 300.0 if full else 60.0
    train, held = cut(text.prose, tmp_path)
    shape = field.shape_of(BASELINE, seconds)
    given = {"train": str(train), "held": str(held)}
    baseline, pylm = Side("torch", plain_torch, BASELINE, field.KEPT), Side("pylm", ours)
    ways: dict[str, dict[str, str]] = {
        "recipe and kernels": {},
        "kernels alone": settings_of(shape),
        "a vocabulary four times as large": {"PYLM_MODEL__VOCAB_SIZE": str(4 * shape["vocabulary"])},
    }
    samples: dict[str, dict[str, list[dict[str, Any]]]] = {way: {"pylm": [], BASELINE: []} for way in ways}

    def bits_in(limit: float, way: str, seed: int) -> float:
        more = {"settings": ways[way], "seconds": limit, "seed": seed, **given}
        bits = float(compare.once(pylm, timeout=3 * limit + 240, **more)["bits_per_byte"])
        print(f"{way}: {bits:.4f} in {limit:.0f} s")
        return bits

    def race() -> None:
        for seed in range(pytestconfig.getoption("--seeds") if full else 1):
            there = compare.once(baseline, timeout=3 * seconds + 240, shape=shape, seconds=seconds, seed=seed, **given)
            print(f"{BASELINE}: {there['bits_per_byte']:.4f} in {seconds:.0f} s")
            for way, settings in ways.items():
                first = FIRST * seconds * (2 if settings else 1)
                took = time_to(there["bits_per_byte"], first, partial(bits_in, way=way, seed=seed))
                samples[way]["pylm"].append({"seconds": took})
                samples[way][BASELINE].append({"seconds": there["seconds"]})

    compare.benchmark.pedantic(race, rounds=1, iterations=1)
    from pylm import _native

    bar = next((BARS[feature] for feature in BARS if feature in _native.cpu_info()["features"]), BAR)
    versions = {side.name: side.version() or "" for side in (pylm, baseline)}
    for way, measured in samples.items():
        name = f"text to the bits of {seconds:.0f} s of tuned torch and AdamW, {way}"
        found = Run(name, measured, {}, versions, lambda row: compare.report.add("track", row))
        found.faster(bar if way == "recipe and kernels" else None, than=BASELINE)
