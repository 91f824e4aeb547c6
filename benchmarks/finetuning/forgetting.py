"""What a model forgets while it is tuned: the loss of its own validation text, after LoRA and after full tuning."""

from __future__ import annotations

from pathlib import Path

from benchmarks.compare import Compare
from benchmarks.finetuning.instructions import SEEDS, tuned_once
from benchmarks.report import Row


def test_lora_forgets_less(compare: Compare, place: Path) -> None:
    both = compare.benchmark.pedantic(
        lambda: {method: tuned_once(compare, place, method, SEEDS[0]) for method in ("full", "lora")}
    )
    lost = {}
    for method, found in both.items():
        before, after = found["text"]
        lost[method] = after - before
        name = f"loss of the text before {method} tuning, and what it adds"
        compare.report.add(compare.subject, Row(name, after - before, before, None, None, None, "", "", "nats"))
        exact = Row(f"exact match after {method} tuning", 100 * found["exact"], None, None, None, None, "", "", "%")
        compare.report.add(compare.subject, exact)
    share = lost["lora"] / lost["full"]
    verdict = "met" if share <= 0.5 else "short"
    name = "what LoRA forgets of what full tuning does"
    compare.report.add(
        compare.subject, Row(name, lost["lora"], lost["full"], None, share, None, "≤ 0.5×", verdict, "nats")
    )
