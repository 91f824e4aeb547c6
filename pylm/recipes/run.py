"""Runs a recipe: each step that does not stand, in order, as a process of its own; what stands is not run again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from pylm.durable import flush_folder, make_folder
from pylm.errors import Interrupted, PylmError
from pylm.recipes.child import run_step
from pylm.recipes.events import Began, Ended, Event, Stood, Told
from pylm.recipes.file import read_recipe
from pylm.recipes.folder import DONE, STEP, StepFolder, held
from pylm.recipes.line import Line
from pylm.recipes.picture import draw
from pylm.recipes.results import result_of
from pylm.recipes.standing import Standing, Standings, sizes_of
from pylm.recipes.steps import Instance, instances_of
from pylm.wording import call

__all__ = ["default_folder", "run"]

SAVED, BY_CTRL_C = 75, 130
Place = tuple[str, int, int]  # a step's name, its number, and how many there are


def run(
    name: str,
    *,
    out: str | os.PathLike[str] | None = None,
    size: str | None = None,
    on_event: Callable[[Event], object] = lambda event: None,
) -> list[Standing]:
    """Run what does not stand of a recipe, and return how its steps stand: all of them do.

    Kill it anywhere: the next run goes on where it was, and comes to the same. A step that fails raises, and what was
    done before it stands.

    Args:
        name: a YAML file, or a recipe that comes with pylm.
        out: the folder of all that is made; runs/<name> if not given.
        size: which of the recipe's sizes; its first if not given.
        on_event: called with each event (pylm.recipes.events).
    """
    recipe = read_recipe(name, size)
    folder, instances = default_folder(recipe.name, recipe.size, out), instances_of(recipe)
    with held(folder) as lock:
        standings = Standings(folder)
        for number, instance in enumerate(instances, 1):
            place: Place = (instance.name, number, len(instances))
            found = standings.look(instance)
            if found.state == "stands":
                on_event(Stood(*place))
                continue
            try:
                _run_one(found, standings.line(instance), lock, place, on_event)
            except KeyboardInterrupt:
                raise _interrupted(instance.name, name, folder, size) from None
            standings.look(instance)
        draw(list(standings.known.values()), folder, f"{folder.name}: validation loss by step")
    return list(standings.known.values())


def default_folder(name: str, size: str | None, out: str | os.PathLike[str] | None) -> Path:
    """Return the folder of a recipe at a size, where nobody names another."""
    return Path("runs", f"{name}-{size}" if size else name) if out is None else Path(out)


def _run_one(
    found: Standing, line: Line, lock: int, place: Place, on_event: Callable[[Event], object]
) -> None:  # fmt: skip
    instance, folder = found.instance, found.folder
    make_folder(folder.path)
    goes_on = found.state == "half done" and _may_go_on(instance, folder)
    if not goes_on:
        _remove(folder.out)
    folder.write(STEP, {**found.record, "began": time.time()})
    words = _with_ours(instance, folder, line, goes_on).words()
    on_event(Began(*place, tuple(words), goes_on))
    begun = time.monotonic()
    code = run_step(words, folder=folder.path, log=folder.log, answer=folder.answer, lock=lock,
                    told=lambda line: on_event(Told(*place, line)))  # fmt: skip
    if code:
        raise _failed(instance.name, folder, code)
    result, seconds = result_of(instance, folder), round(time.monotonic() - begun, 3)
    identity = instance.kind.identity(folder.out)
    folder.write(DONE, {"identity": identity, "files": sizes_of(folder), "seconds": seconds, "result": result})
    on_event(Ended(*place, seconds, result))


def _may_go_on(instance: Instance, folder: StepFolder) -> bool:
    """Say whether what is half done is gone on with; where it is not, it is made anew."""
    if instance.kind.resumes:
        from pylm.checkpoint import newest_sound

        return newest_sound(folder.out) is not None
    return instance.kind.goes_on


def _with_ours(instance: Instance, folder: StepFolder, line: Line, goes_on: bool) -> Line:
    """Return the line with what the recipe adds: where the result goes, and that it goes on."""
    if goes_on and instance.kind.resumes:  # its configuration lies with it; the data may have moved with the folder
        data = tuple(option for option in line.options if option[0] == "data")
        line = Line(instance.command, (("resume", "auto"), *data))
    line = line.with_options(("out", str(folder.out.absolute())))
    return line.with_options(("json", None)) if instance.kind.answers else line


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    flush_folder(path.parent)


def _failed(step: str, folder: StepFolder, code: int) -> PylmError:
    """Return the error of a step: its own sentence, by its name."""
    if code in (SAVED, BY_CTRL_C, -15):
        return Interrupted(f"the step {step} was asked to end", "the same command goes on from there")
    sentence, hint = _said(folder.log)
    if code < 0:
        sentence, hint = f"killed by signal {-code}", "the same command goes on from there"
    return PylmError(f"the step {step} failed: {sentence}", f"{hint}; all that it said: {folder.log}")


def _said(log: Path) -> tuple[str, str]:
    """Return the last error and hint of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    found = {
        word: [line[len(word) + 2 :] for line in lines if line.startswith(f"{word}: ")] for word in ("error", "hint")
    }
    sentence = found["error"][-1] if found["error"] else (lines[-1] if lines else "it said nothing")
    return sentence, found["hint"][-1] if found["hint"] else "what is done before it stands"


def _interrupted(step: str, name: str, folder: Path, size: str | None) -> Interrupted:
    again = call("recipe run", name, out=folder, **({} if size is None else {"size": size}))
    error = Interrupted(f"stopped in the step {step}; what is done stands", f"this goes on from there: {again}")
    error.exit_code = BY_CTRL_C
    return error
