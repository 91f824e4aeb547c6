"""What a recipe would take: of each training whose data stands, what `pylm plan` says."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pylm.recipes.child import run_step
from pylm.recipes.file import read_recipe
from pylm.recipes.line import Line
from pylm.recipes.run import default_folder
from pylm.recipes.standing import Standing, Standings, State
from pylm.recipes.steps import instances_of

__all__ = ["Planned", "PlannedStep", "plan"]

DOES_NOT_FIT = 3


@dataclass(frozen=True)
class PlannedStep:
    """A step that would run or stands, with what it takes, where that can be told."""

    name: str
    command: str
    state: State
    waits_for: tuple[str, ...] = ()
    seconds: float | None = None
    disk: int | None = None
    tokens: int | None = None
    unknown: str = ""  # why nobody can tell
    why_not: tuple[str, ...] = ()  # it does not fit


@dataclass(frozen=True)
class Planned:
    """All steps, and what those together take of which it is known."""

    folder: Path
    steps: list[PlannedStep]

    @property
    def seconds(self) -> float:
        """The time of the trainings of which it is known."""
        return math.fsum(each.seconds or 0 for each in self.steps)

    @property
    def disk(self) -> int:
        """Their disk, in bytes."""
        return sum(each.disk or 0 for each in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for programs."""
        return {"folder": str(self.folder), "seconds": self.seconds, "disk": self.disk,
                "steps": [asdict(each) for each in self.steps]}  # fmt: skip


def plan(
    name: str, *, out: str | os.PathLike[str] | None = None, size: str | None = None,
    told: Callable[[str], object] = lambda line: None,
) -> Planned:  # fmt: skip
    """Return what would run of a recipe, and what it takes as far as that is known; nothing is written.

    Args:
        name: a YAML file, or a recipe that comes with pylm.
        out: the folder of all that is made; runs/<name> if not given.
        size: which of the recipe's sizes; its first if not given.
        told: called with what is being done.
    """
    recipe = read_recipe(name, size)
    folder = default_folder(recipe.name, recipe.size, out)
    standings, steps = Standings(folder), []
    for instance in instances_of(recipe):
        found = standings.look(instance)
        if found.state in ("to run", "half done") and instance.command == "train":
            told(f"planning: {instance.name}")
            steps.append(_training(found, standings.line(instance)))
        else:
            steps.append(PlannedStep(instance.name, instance.command, found.state, found.waits_for))
    return Planned(folder, steps)


def _training(found: Standing, line: Line) -> PlannedStep:
    """Return what `pylm plan` says of a training."""
    same: Any = {"name": found.instance.name, "command": "train", "state": found.state}
    with tempfile.TemporaryDirectory(prefix="pylm-plan-") as aside:
        log, answer = Path(aside, "log"), Path(aside, "answer")
        here = ("out", str(found.folder.out.absolute()))
        asked = replace(line, command="plan").with_options(here, ("no-probe", None), ("json", None))
        code = run_step(asked.words(), folder=Path(aside), log=log, answer=answer)
        if code not in (0, DOES_NOT_FIT):
            said = log.read_text(encoding="utf-8", errors="replace").splitlines()
            return PlannedStep(**same, unknown=next((line for line in said if line.startswith("error")), "no answer"))
        made = json.loads(answer.read_text(encoding="utf-8"))
    known = {key: made[key] for key in ("seconds", "disk", "tokens")}
    return PlannedStep(**same, **known, why_not=tuple(made["why_not"]) if code else ())
