"""The validation losses of all trainings of a recipe in one picture, a second stage where the first one ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pylm.durable import write_text
from pylm.recipes.standing import Standing
from pylm.recipes.steps import Output

__all__ = ["PICTURE", "draw"]

PICTURE = "losses.svg"


def draw(standings: Sequence[Standing], folder: Path, title: str) -> Path | None:
    """Write the picture, and return where it is; None where no training has a validation loss."""
    from pylm.runs.plot import losses, svg

    curves, first = {}, dict[str, int]()
    for each in standings:
        if each.instance.command != "train" or each.state != "stands":
            continue
        name = each.instance.name
        first[name] = _begins_at(each, first)
        if points := losses(each.folder.out).get("val_loss"):
            curves[name] = [(step + first[name], loss) for step, loss in points]
    if not curves:
        return None
    write_text(folder / PICTURE, svg(curves, title))
    return folder / PICTURE


def _begins_at(one: Standing, first: Mapping[str, int]) -> int:
    """Return the steps that were taken before a training's first: those of the checkpoint that it began with."""
    from pylm.checkpoint import find, read

    taken = read(find(f"{one.folder.out}/last")).state.get("init_from") or {}
    begun = dict(one.instance.options).get("init-from") or ()
    of = next((part.steps[0] for part in begun if isinstance(part, Output)), "")
    return int(taken.get("step") or 0) + first.get(of, 0)
