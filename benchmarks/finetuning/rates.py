"""The rate of full tuning as a share of the rate that the base was trained with, three seeds at each."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from benchmarks.compare import Compare
from benchmarks.finetuning.base import LEARNING, write_examples
from benchmarks.finetuning.instructions import ASKED, SEEDS, asked_once
from benchmarks.report import Row

SHARES = (0.05, 0.1, 0.2, 0.4, 0.8)
FEW = 10_000


def tuned_at(folder: str, cores: int, share: float, seed: int) -> dict[str, Any]:
    """Tune the base at a share of its rate; return what held-out examples and its own text cost then."""
    import torch

    import pylm

    torch.set_num_threads(cores)
    place = Path(folder)
    learned, unseen, out = (place / f"rate-{share}-{seed}{end}" for end in (".jsonl", "-unseen.jsonl", ""))
    write_examples(learned, FEW, seed)
    write_examples(unseen, ASKED, seed, unseen=True)
    run = pylm.finetune(
        place / "base", dataset=str(learned), out=out, seed=seed, sample_every=None, save_every=None,
        learning_rate=share * LEARNING["learning_rate"],
    )  # fmt: skip
    judged = pylm.evaluate(run.path, examples=str(unseen), limit=ASKED, threads=cores)
    text = pylm.evaluate(run.path, data=place / "text", threads=cores).loss
    exact = judged.tasks[0].metrics["exact_match"]
    return {"seconds": 0.0, "held_out": run.val_loss, "exact": exact, "text": text, "result": None}


@pytest.mark.slow
def test_the_rate_of_tuning(compare: Compare, place: Path) -> None:
    """Held-out loss and exact match of unseen templates by the share of the base's rate."""

    def measured() -> dict[float, list[dict[str, Any]]]:
        return {
            share: [asked_once(compare, place, tuned_at, share=share, seed=seed) for seed in SEEDS] for share in SHARES
        }

    found = compare.benchmark.pedantic(measured)
    for share, each in found.items():
        for key, unit, factor in (("held_out", "nats", 1), ("exact", "%", 100), ("text", "nats", 1)):
            values = [factor * one[key] for one in each]
            name = f"tuned at {share:g} of the base's rate, {FEW:,} examples, {len(SEEDS)} seeds: {key}"
            spread = (min(values), max(values))
            compare.report.add(compare.subject, Row(name, mean(values), None, None, None, spread, "", "", unit))
