"""What a step came to, in numbers, as its folder says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pylm.errors import DataError
from pylm.recipes.folder import StepFolder
from pylm.recipes.steps import Instance

__all__ = ["result_of"]


def result_of(instance: Instance, folder: StepFolder) -> dict[str, Any]:
    """Return what a step came to: a training its losses, an evaluation all of its answer, a file its size."""
    if instance.kind.answers:
        return _answer(folder.answer)
    if instance.command in ("train", "finetune"):
        return _trained(folder.out)
    if instance.command == "soup":
        from pylm.checkpoint import read

        return dict(read(folder.out).state["soup"])
    if (manifest := folder.out / "manifest.json").is_file():
        splits = json.loads(manifest.read_text(encoding="utf-8")).get("splits", {})
        if splits:
            return {f"{name}_tokens": split["tokens"] for name, split in splits.items()}
    return {"bytes": _size(folder.out)}


def _answer(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is no answer of a command: {error}") from None
    return dict(found)


def _trained(folder: Path) -> dict[str, Any]:
    from pylm.runs import Run

    run = Run(folder)
    return {"steps": run.step, "val_loss": run.best_loss, "last_val_loss": run.val_loss,
            "bits_per_byte": run.bits_per_byte}  # fmt: skip


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
