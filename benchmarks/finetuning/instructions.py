"""Instructions that are learned: copy, reverse, count and look up, asked for in sentences that training never had."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Side
from benchmarks.finetuning.base import train_base, write_examples
from benchmarks.finetuning.material import TASKS
from benchmarks.report import Row

SEEDS = (1, 2, 3)
EXAMPLES, ASKED = 40_000, 200
METHODS: dict[str, dict[str, Any]] = {
    "full": {"method": "full", "learning_rate": 4e-3},
    "lora": {"method": "lora"},  # at the rate that is derived
}
BOTH: dict[str, Any] = {"threads": 2, "cores": 2, "timeout": 3600.0}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the base and what is tuned of it lie; a folder that is kept from one run to the next has what is there."""
    kept = os.environ.get("PYLM_BENCHMARK_INSTRUCTIONS")
    return tmp_path_factory.mktemp("instructions") if kept is None else Path(kept)


def tuned(folder: str, cores: int, method: str, seed: int) -> dict[str, Any]:
    """Tune the base, and ask what it was and what it became for answers."""
    import torch

    import pylm
    from pylm.finetuning.judge import judge

    torch.set_num_threads(cores)
    place = Path(folder)
    learned, unseen = place / f"{method}-{seed}.jsonl", place / f"unseen-{seed}.jsonl"
    write_examples(learned, EXAMPLES, seed)
    write_examples(unseen, ASKED, seed, unseen=True)
    begun = time.perf_counter()
    run = pylm.finetune(
        place / "base", dataset=str(learned), out=place / f"{method}-{seed}", seed=seed, sample_every=None,
        **METHODS[method],
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    before = judge(place / "base", str(unseen), limit=ASKED, threads=cores)
    after = pylm.evaluate(run.path, examples=str(unseen), limit=ASKED, threads=cores)
    (answers,) = after.tasks
    exact = answers.items["exact_match"]
    text = [pylm.evaluate(each, data=place / "text", threads=cores).loss for each in (place / "base", run.path)]
    return {
        "seconds": seconds, "base": before.exact_match, "exact": answers.metrics["exact_match"],
        "ended": answers.metrics["ended"], "loss": after.loss, "text": text, "result": None,
        "by_task": {task: sum(exact[n :: len(TASKS)]) / len(exact[n :: len(TASKS)]) for n, task in enumerate(TASKS)},
    }  # fmt: skip


def tuned_once(compare: Compare, place: Path, method: str, seed: int) -> dict[str, Any]:
    """Return what tuning came to; it is done where nobody asked before."""
    return asked_once(compare, place, tuned, method=method, seed=seed)


def asked_once(compare: Compare, place: Path, function: Callable[..., dict[str, Any]], **of: Any) -> dict[str, Any]:
    """Return what a function makes of the base in `place`, once there is one; it is asked where nobody did before."""
    _once(compare, place / "base.json", Side("pylm", train_base), folder=str(place), seed=0)
    file = place / ("-".join((function.__name__, *map(str, of.values()))) + ".json")
    return _once(compare, file, Side("pylm", function), folder=str(place), **of)


def _once(compare: Compare, file: Path, side: Side, **arguments: Any) -> dict[str, Any]:
    if not file.exists():
        file.write_text(json.dumps(compare.once(side, **BOTH, **arguments)))
        print(file.stem, file.read_text())
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def row(compare: Compare, name: str, value: float, bar: str, met: bool) -> None:
    verdict = "met" if met else "short"
    compare.report.add(compare.subject, Row(name, 100 * value, None, None, None, None, bar, verdict, "%"))


def test_instructions_in_unseen_words(compare: Compare, place: Path) -> None:
    found = compare.benchmark.pedantic(lambda: [tuned_once(compare, place, "full", seed) for seed in SEEDS])
    what = f"instructions in unseen words, {ASKED} prompts, {len(SEEDS)} seeds"
    base, exact, ended = (
        max(one["base"] for one in found),
        *(min(one[key] for one in found) for key in ("exact", "ended")),
    )
    row(compare, f"{what}: exact match of the base, at most", base, "< 10 %", base < 0.1)
    row(compare, f"{what}: exact match, at least", exact, "≥ 95 %", exact >= 0.95)
    for task in TASKS:
        least = min(one["by_task"][task] for one in found)
        report = Row(f"{what}: exact match of {task}, at least", 100 * least, None, None, None, None, "", "", "%")
        compare.report.add(compare.subject, report)
    row(compare, f"{what}: ended by itself, at least", ended, "≥ 99 %", ended >= 0.99)
