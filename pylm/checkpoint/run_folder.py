"""The checkpoints of a run: which there are, which name means which, and which may go.

runs/x/checkpoints/step_500/   one folder a checkpoint
runs/x/checkpoints/best, last  one-line files that name a step, replaced by rename
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import Path

from pylm.checkpoint.directory import PARTIAL, flush_folder, verify, write_text
from pylm.checkpoint.opened import holds_weights, no_folder
from pylm.errors import CheckpointError, did_you_mean

__all__ = ["find", "newest_run", "newest_sound", "point", "retain", "steps"]

STEP = re.compile(r"step_(\d+)$")
POINTERS = ("best", "last")
CHECKPOINTS = "checkpoints"
SHOWN = 3  # runs that a hint names


def steps(run: Path) -> list[int]:
    """The steps of which a run has a checkpoint, in order."""
    folder = run / CHECKPOINTS
    if not folder.is_dir():
        return []
    found = [(STEP.match(entry.name), entry) for entry in folder.iterdir()]
    return sorted(int(match[1]) for match, entry in found if match and entry.is_dir())


def find(name: str | None, runs: Path = Path("runs")) -> Path:
    """The folder that a CHECKPOINT means.

    Args:
        name: a run folder (its `best`, else its `last`), `RUN/best`, `RUN/last`, `RUN/step_500`, any folder that holds
            `model.safetensors` or an index of its parts; bare `best`, `last`, `step_500` mean the newest run; None
            means the newest run's best.
        runs: where the runs are kept.
    """
    if name is None or name in POINTERS or STEP.fullmatch(name):
        run = newest_run(runs)
        return _of_run(run, name)
    path = Path(name)
    if holds_weights(path):
        return path
    if (path / CHECKPOINTS).is_dir():
        return _of_run(path, None)
    if (path.parent / CHECKPOINTS).is_dir() and (path.name in POINTERS or STEP.fullmatch(path.name)):
        return _of_run(path.parent, path.name)
    if path.is_dir():
        raise CheckpointError(f"{path} holds no checkpoint: neither {CHECKPOINTS}/ nor model.safetensors")
    raise no_folder(name) or CheckpointError(f"no checkpoint at {path}", _what_there_is(path, runs))


def newest_run(runs: Path = Path("runs")) -> Path:
    """The run whose checkpoints were written last."""
    found = [run for run in runs.iterdir() if steps(run)] if runs.is_dir() else []
    if not found:
        raise CheckpointError(f"no run with a checkpoint under {runs}/", "pylm train my.txt makes one")
    return max(
        found, key=lambda run: max((run / CHECKPOINTS / f"step_{step}").stat().st_mtime_ns for step in steps(run))
    )


def newest_sound(run: Path) -> Path | None:
    """The newest checkpoint of a run whose every file is as it was written, None where there is none."""
    for step in reversed(steps(run)):
        path = run / CHECKPOINTS / f"step_{step}"
        try:
            return verify(path).path
        except CheckpointError:
            continue
    return None


def point(run: Path, name: str, step: int) -> None:
    """Let `best` or `last` name a step; a reader sees the old name or the new one, never half of one."""
    folder = run / CHECKPOINTS
    partial = folder / f"{PARTIAL}{name}-{secrets.token_hex(4)}"
    write_text(partial, f"step_{step}\n")
    os.replace(partial, folder / name)
    flush_folder(folder)


def retain(run: Path, keep_last: int) -> list[int]:
    """Remove all but the newest `keep_last` checkpoints and those that `best` and `last` name.

    Nothing goes unless the newest one is sound, and what goes is renamed first, so that no half-removed folder is taken
    for a checkpoint. What a killed writer left behind goes too. Returns the removed steps.
    """
    have = steps(run)
    folder = run / CHECKPOINTS
    if not have:
        return []
    verify(folder / f"step_{have[-1]}")
    kept = set(have[-max(keep_last, 1) :])
    kept.update(step for name in POINTERS if (step := _pointed(run, name)) is not None)
    gone = [step for step in have if step not in kept]
    for step in gone:
        (folder / f"step_{step}").rename(folder / f"{PARTIAL}removed-{step}-{secrets.token_hex(4)}")
    for entry in folder.iterdir():
        if entry.name.startswith(PARTIAL):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
    return gone


def _of_run(run: Path, name: str | None) -> Path:
    """A checkpoint of one run by `best`, `last`, `step_N`, or None for its best, else its last, else its newest."""
    have = steps(run)
    if not have:
        raise CheckpointError(f"{run} has no checkpoint yet")
    if name is None:
        for pointer in POINTERS:
            if (step := _pointed(run, pointer)) in have:
                return run / CHECKPOINTS / f"step_{step}"
        return run / CHECKPOINTS / f"step_{have[-1]}"
    match = STEP.fullmatch(name)
    step = int(match[1]) if match else _pointed(run, name)
    if step not in have:
        names = ", ".join(f"step_{one}" for one in have)
        raise CheckpointError(f"{run} has no checkpoint {name}", f"it has {names}")
    return run / CHECKPOINTS / f"step_{step}"


def _pointed(run: Path, name: str) -> int | None:
    """The step that `best` or `last` names."""
    try:
        match = STEP.match((run / CHECKPOINTS / name).read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return None
    return int(match[1]) if match else None


def _what_there_is(path: Path, runs: Path) -> str | None:
    """A hint for a name that is nowhere: the nearest run, else the runs that there are."""
    found = [run for run in runs.iterdir() if steps(run)] if runs.is_dir() else []
    if not found:
        return "pylm train my.txt makes one"
    found.sort(key=lambda run: (run / CHECKPOINTS).stat().st_mtime_ns, reverse=True)
    names = [str(run) for run in found]
    newest = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} older" if len(names) > SHOWN else "")
    return did_you_mean(str(path), names) or f"there is {newest}"
