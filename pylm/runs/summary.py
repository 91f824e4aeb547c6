"""What a run is and what it came to, in figures: for `pylm runs show`, comparisons and reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pylm.runs.differing import environment
from pylm.runs.history import History
from pylm.runs.lines import read_lines
from pylm.runs.listing import standing

__all__ = ["evaluations", "identity", "summary"]


def summary(run: Path) -> dict[str, Any]:
    """Return where a run stands, what it reached, where its time went and what it ran on."""
    stands, noted = standing(run), environment(run)
    facts: dict[str, Any] = {**stands.as_dict(), **identity(run)}
    if (run / "metrics.jsonl").is_file():
        history = History(run)
        best = history.lowest("val_loss")
        facts |= {"best_loss": best and best[1], "best_step": best and best[0]}
        facts |= {"tokens_per_second": history.last("tokens_per_second"), "mfu": history.last("mfu")}
        facts |= {"memory": history.last("memory"), "phases": history.phases(), "resumed_at": history.cuts()}
    choices = noted.get("choices", {})
    facts |= {key: choices.get(key) for key in ("backend", "device", "device_name", "threads", "precision")}
    facts["incidents"] = len(read_lines(run / "incidents.jsonl"))
    facts["checkpoints"] = _checkpoints(run)
    return facts


def identity(run: Path) -> dict[str, Any]:
    """Return the hashes of the tokenizer and the data of a run, as its newest checkpoint has them; or of a soup."""
    from pylm.checkpoint import read

    kept = _checkpoints(run)
    folder = run / "checkpoints" / f"step_{kept[-1]}" if kept else run
    state = read(folder).state if (folder / "state.json").is_file() else {}
    return {key: state.get(key) for key in ("tokenizer", "data", "init_from", "soup")}


def evaluations(run: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the newest number of each task and metric that `pylm eval` found."""
    return {(one["task"], one["metric"]): one for one in read_lines(run / "evaluations.jsonl") if "metric" in one}


def _checkpoints(run: Path) -> list[int]:
    from pylm.checkpoint import steps

    return steps(run)
