"""The sampler against the usual operations of torch: penalties, sort, cumsum, multinomial."""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest

from benchmarks.compare import Compare, Side

VOCABULARY = 50_304
ROUNDS = 60
SETTINGS = {"temperature": 0.8, "top_p": 0.9, "repetition_penalty": 1.1, "presence_penalty": 0.1}


def material(rows: int) -> tuple[Any, Any]:
    """Logits with the shape of a model's, and 512 tokens of history a row."""
    import numpy as np

    random = np.random.default_rng(1)
    logits = random.normal(0, 3, (rows, VOCABULARY)).astype(np.float32)
    return logits, [random.integers(0, VOCABULARY, 512) for _ in range(rows)]


def ours(rows: int, cores: int) -> dict[str, Any]:
    from pylm._native import SampleSettings, sample, sample_probabilities

    logits, history = material(rows)
    settings = SampleSettings(**SETTINGS)
    times = []
    for position in range(ROUNDS):
        start = time.perf_counter()
        sample(
            logits,
            "float32",
            settings,
            history,
            1,
            list(range(rows)),
            [position] * rows,
            logprobs=False,
            threads=cores,
        )
        times.append(time.perf_counter() - start)
    kept = (sample_probabilities(logits[:1], "float32", settings, history[:1]) > 0).sum()
    return {"seconds": statistics.median(times), "result": int(kept)}


def usual(rows: int, cores: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(cores)
    array, histories = material(rows)
    given, history = torch.from_numpy(array), torch.stack([torch.from_numpy(h) for h in histories])

    def draw() -> tuple[Any, Any]:
        logits = given.clone()
        counted = torch.zeros_like(logits).scatter_(1, history, 1)
        values = torch.gather(logits, 1, history)
        logits.scatter_(1, history, torch.where(values > 0, values / 1.1, values * 1.1))
        logits = (logits - 0.1 * counted) / 0.8
        ordered, order = logits.sort(descending=True)
        chances = ordered.softmax(-1)
        chances[chances.cumsum(-1) - chances >= 0.9] = 0
        return order.gather(1, torch.multinomial(chances, 1)), chances

    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        _, chances = draw()
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times), "result": int((chances[0] > 0).sum())}


@pytest.mark.parametrize(("rows", "threads"), [(1, 1), (8, 2)])
def test_top_p_with_penalties(compare: Compare, rows: int, threads: int) -> None:
    run = compare(
        f"{rows} × {VOCABULARY:,} logits, top-p and penalties, {threads} thread{'s' * (threads > 1)}",
        Side("pylm", ours),
        [Side("torch", usual, label="torch's usual operations")],
        threads=threads,
        cores=threads,
        agree=lambda mine, peer: abs(mine - peer) <= 2,  # tokens kept: one may lie within rounding of the bound
        rows=rows,
    )
    run.faster(10.0, than="torch's usual operations")
