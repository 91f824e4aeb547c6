"""`pylm train --preset tiny` against the same model and loop in plain torch: same data, same initial weights, fp32.

Ten steps of each; with --full the 500 that the claim is about.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pylm.cli import run
from pylm.config.given import Given
from pylm.config.shape import complete
from pylm.data import Loader
from pylm.data.stories import stories
from pylm.model.torch import Model
from pylm.runs import read_lines
from tests.support.plain_llama import PlainLlama, Recipe

VOCABULARY, CONTEXT, ROWS = 500, 256, 4


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "stories.txt"
    text.write_text("".join(stories(1_000_000)), encoding="utf-8")
    assert run(["tokenize", str(text), "--vocab-size", str(VOCABULARY), "--out", str(tmp_path / "ids")]) == 0
    return tmp_path / "ids"


def ours(data: Path, folder: Path, steps: int) -> list[float]:
    line = ["train", "--data", str(data), "--preset", "tiny", "--out", str(folder), "--max-steps", str(steps)]
    plainly = [
        "--precision",
        "fp32",
        "--compile",
        "false",
        "--batch-tokens",
        str(ROWS * CONTEXT),
        "--micro-batch",
        str(ROWS),
    ]
    assert run([*line, *plainly, "--log-every", "1", "--eval-every", "null", "--save-every", "null"]) == 0
    return [record["loss"] for record in read_lines(folder / "metrics.jsonl") if "lr" in record]


def plainly(data: Path, steps: int) -> list[float]:
    shape = complete(Given("train", preset="tiny").resolve().config.model, VOCABULARY)
    weights = Model(shape, generator=torch.Generator().manual_seed(1337)).weights()
    plain = PlainLlama(weights, Recipe(layers=4, heads=4, steps=steps, learning_rate=2e-3, warmup=50))
    loader = Loader(data, CONTEXT, ROWS, seed=1337)
    batches = (loader.batch(number) for number in range(steps))
    return [plain.step(batch.inputs, batch.targets)[0] for batch in batches]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("kernels", "within"), [("reference", 1e-5), ("", 1e-2)])
def test_losses_are_those_of_plain_torch(
    kernels: str, within: float, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    steps = 500 if request.config.getoption("--full") else 10
    monkeypatch.setenv("PYLM_KERNELS", kernels)
    found, expected = ours(data, tmp_path / "run", steps), plainly(data, steps)
    assert len(found) == steps
    assert found[:10] == pytest.approx(expected[:10], abs=1e-5)
    away = np.abs(np.array(found) - np.array(expected))
    print(
        f"PYLM_KERNELS={kernels}: {steps} steps, at most {away.max():.2g} apart, {away[:10].max():.2g} in the first ten"
    )
    assert away.max() <= within
    # the uniform guess is far behind by then: a loop that learns nothing would agree with another that does not
    assert steps < 500 or found[-1] < expected[0] - 2
