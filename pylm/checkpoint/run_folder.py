"""The checkpoints of a run: which there are, which name means which, and which may go.

runs/x/checkpoints/step_500/   one folder a checkpoint
runs/x/checkpoints/best, last  one-line files that name a step, replaced by rename

The checkpoints themselves say which is the best: each state.json names the best step so far. The two files are a copy
for whoever looks; where a kill came between a checkpoint and its files, readers are right, and the next writer mends.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from itertools import islice
from pathlib import Path

from pylm.checkpoint.directory import AVERAGE, PARTIAL, read, verify
from pylm.checkpoint.opened import holds_weights, no_folder
from pylm.checkpoint.sharded import not_whole
from pylm.durable import replace_text
from pylm.errors import CheckpointError, did_you_mean
from pylm.wording import param

__all__ = ["best", "find", "mend", "newest_run", "newest_sound", "point", "retain", "steps"]

STEP = re.compile(r"step_(0|[1-9][0-9]{0,17})\Z")
POINTERS = ("best", "last")
CHECKPOINTS = "checkpoints"
SHOWN = 3  # runs that a hint names


def steps(run: Path) -> list[int]:
    """Return the steps of which a run has a checkpoint, in order."""
    folder = run / CHECKPOINTS
    if not folder.is_dir():
        return []
    found = [(STEP.match(entry.name), entry) for entry in folder.iterdir()]
    return sorted(int(match[1]) for match, entry in found if match and entry.is_dir())


def find(name: str | None, runs: Path = Path("runs")) -> Path:
    """Return the folder that a CHECKPOINT means.

    Args:
        name: a run folder (its `best`, else its `last`), `RUN/best`, `RUN/last`, `RUN/step_500`, any folder that holds
            `model.safetensors` or an index of its parts; with `/average`, the average of the weights that it keeps (of
            a run, its newest checkpoint's); bare `best`, `last`, `step_500`, `average` mean the newest run; None means
            the newest run's best.
        runs: where the runs are kept.
    """
    if name is None or name in POINTERS or STEP.fullmatch(name):
        run = newest_run(runs)
        return _of_run(run, name)
    path = Path(name)
    if holds_weights(path) or not_whole(path):
        return path
    if (path / CHECKPOINTS).is_dir():
        return _of_run(path, None)
    if (path.parent / CHECKPOINTS).is_dir() and (path.name in POINTERS or STEP.fullmatch(path.name)):
        return _of_run(path.parent, path.name)
    if path.name == AVERAGE:
        return _average_of(newest_run(runs) if name == AVERAGE else path.parent, runs)
    if path.is_dir():
        raise CheckpointError(f"{path} holds no checkpoint: neither {CHECKPOINTS}/ nor model.safetensors")
    raise no_folder(name, runs) or CheckpointError(f"no checkpoint at {path}", _what_there_is(path, runs))


def _average_of(whose: Path, runs: Path) -> Path:
    """Return the average that a checkpoint keeps of the weights; of a run, its newest one."""
    checkpoint = find(f"{whose}/last" if (whose / CHECKPOINTS).is_dir() else str(whose), runs)
    if holds_weights(checkpoint / AVERAGE):
        return checkpoint / AVERAGE
    raise CheckpointError(
        f"{checkpoint} holds no average of the weights",
        f"{param('average', 'ema')}, or mean, has a run keep one, from {param('average_from')} on",
    )


def newest_run(runs: Path = Path("runs")) -> Path:
    """Return the run whose checkpoints were written last."""
    found = [run for run in runs.iterdir() if steps(run)] if runs.is_dir() else []
    if not found:
        raise CheckpointError(f"no run with a checkpoint under {runs}/", "pylm train my.txt makes one")
    return max(found, key=_written)


def _written(run: Path) -> int:
    """Return when the newest of a run's checkpoints was written.

    Those that retention removes meanwhile do not count.
    """
    times = [0]
    for step in steps(run):
        with contextlib.suppress(FileNotFoundError):
            times.append((run / CHECKPOINTS / f"step_{step}").stat().st_mtime_ns)
    return max(times)


def newest_sound(run: Path) -> Path | None:
    """Return the newest checkpoint of a run whose every file is as it was written, None where there is none."""
    for step in reversed(steps(run)):
        path = run / CHECKPOINTS / f"step_{step}"
        try:
            return verify(path).path
        except CheckpointError:
            continue
    return None


def best(run: Path) -> int | None:
    """Return the step of a run's best checkpoint, by what the checkpoints say; None where none is known or it is gone.

    The file `best` counts for an evaluation that the newest state does not know yet: of a run that was stopped in it,
    and of a checkpoint that is too damaged to be asked.
    """
    have = steps(run)
    known, evaluated = _told(run, have)
    pointed = _pointed(run, "best")
    if pointed in have and pointed > evaluated:
        return pointed
    return known if known in have else None


def point(run: Path, name: str, step: int) -> None:
    """Let `best` or `last` name a step; a reader sees the old name or the new one, never half of one."""
    folder = run / CHECKPOINTS
    replace_text(folder / name, f"step_{step}\n", folder / f"{PARTIAL}{name}-{secrets.token_hex(4)}")


def mend(run: Path, keep_last: int) -> None:
    """Do what a killed writer left undone: `best`, `last`, what retention removes, and the litter of the kill.

    For whoever holds the run: nobody else may be writing.
    """
    have = steps(run)
    for name, step in (("best", best(run)), ("last", have[-1] if have else None)):
        if step is not None and _pointed(run, name) != step:
            point(run, name, step)
    if _surplus(run, keep_last):
        retain(run, keep_last)
    _sweep(run)


def retain(run: Path, keep_last: int) -> list[int]:
    """Remove all but the newest checkpoint, the `keep_last` newest that a run saves by itself, the best and `last`.

    One that was saved because somebody stopped the run takes no other's place: once the run has gone on and saved by
    itself, it goes, and those that are left are the ones that a run without a stop has. Nothing goes unless the newest
    one is sound, and what goes is renamed first, so that no half-removed folder is taken for a checkpoint. What a
    killed writer left behind goes too. Returns the removed steps.
    """
    have = steps(run)
    folder = run / CHECKPOINTS
    if not have:
        return []
    verify(folder / f"step_{have[-1]}")
    gone = _surplus(run, keep_last)
    for step in gone:
        (folder / f"step_{step}").rename(folder / f"{PARTIAL}removed-{step}-{secrets.token_hex(4)}")
    _sweep(run)
    return gone


def _surplus(run: Path, keep_last: int) -> list[int]:
    """Return the steps that retention removes."""
    have = steps(run)
    by_itself = islice((step for step in reversed(have) if not _by_a_stop(run, step)), max(keep_last, 1))
    kept = {*have[-1:], *by_itself, best(run), _pointed(run, "last")}
    return [step for step in have if step not in kept]


def _by_a_stop(run: Path, step: int) -> bool:
    """Say whether a checkpoint is there only because somebody stopped the run; a damaged one counts as any other."""
    try:
        return bool(read(run / CHECKPOINTS / f"step_{step}").state.get("stopped"))
    except CheckpointError:
        return False


def _sweep(run: Path) -> None:
    """Remove what was being written or removed when a writer was killed."""
    folder = run / CHECKPOINTS
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.name.startswith(PARTIAL):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _told(run: Path, have: list[int]) -> tuple[int | None, int]:
    """Return the best step by the newest state that can be read, and the last step that was evaluated by then."""
    for step in reversed(have):
        try:
            progress = read(run / CHECKPOINTS / f"step_{step}").state.get("progress", {})
        except CheckpointError:
            continue
        return progress.get("best_step"), progress.get("evaluated", -1)
    return None, -1


def _of_run(run: Path, name: str | None) -> Path:
    """Return the checkpoint of one run by `best`, `last` or `step_N`; None means its best, else its newest."""
    have = steps(run)
    if not have:
        raise CheckpointError(f"{run} has no checkpoint yet")
    match = STEP.fullmatch(name or "")
    if match:
        step: int | None = int(match[1])
    elif name == "last":
        step = have[-1]
    else:
        step = best(run)
        if step is None and name is None:
            step = have[-1]
    if step not in have:
        names = ", ".join(f"step_{one}" for one in have)
        raise CheckpointError(f"{run} has no checkpoint {name}", f"it has {names}")
    return run / CHECKPOINTS / f"step_{step}"


def _pointed(run: Path, name: str) -> int | None:
    """Return the step that the file `best` or `last` names."""
    try:
        match = STEP.match((run / CHECKPOINTS / name).read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return None
    return int(match[1]) if match else None


def _what_there_is(path: Path, runs: Path) -> str | None:
    """Return a hint for a name that is nowhere: the nearest run, else the runs that there are."""
    found = [run for run in runs.iterdir() if steps(run)] if runs.is_dir() else []
    if not found:
        return "pylm train my.txt makes one"
    found.sort(key=lambda run: (run / CHECKPOINTS).stat().st_mtime_ns, reverse=True)
    names = [str(run) for run in found]
    newest = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} older" if len(names) > SHOWN else "")
    return did_you_mean(str(path), names) or f"there is {newest}"
