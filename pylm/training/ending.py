"""How a training ends: what it came to, what is kept of it, and the call that goes on."""

from __future__ import annotations

import errno
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import PylmError
from pylm.training.events import Ended
from pylm.wording import call

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint
    from pylm.runs import RunFolder

__all__ = ["cannot_write", "ended", "finished_before", "last_words", "resuming"]

SPACE = (errno.ENOSPC, errno.EDQUOT)
SCORES = ("val_loss", "perplexity", "accuracy", "bits_per_byte", "bits_per_byte_with_eot")


def ended(run: Path, progress: Mapping[str, Any], why: str, parameters: int, *, already: bool = False) -> Ended:
    """Return what a run came to: the same figures whether it ended now or was finished before.

    Args:
        run: its folder, whose metrics hold the last evaluation.
        progress: where it stands, by the names of the state.
        why: what ended it.
        parameters: of the model.
        already: whether there was nothing left to do.
    """
    return Ended(
        run=run,
        already=already,
        why=why,
        parameters=parameters,
        **{key: progress[key] for key in ("step", "tokens", "seconds", "best_loss", "best_step")},
        **_last_evaluation(run, progress["step"]),
    )


def finished_before(checkpoint: Checkpoint, why: str, keep_last: int) -> Ended:
    """Return what came of a run that has nothing left to do; what a kill left undone in its folder is done now."""
    from pylm.checkpoint import mend
    from pylm.runs import RunFolder

    run = checkpoint.path.parent.parent
    try:
        with RunFolder(run):
            mend(run, keep_last)
    except (OSError, PylmError):
        pass  # somebody else holds it, or it cannot be written; whoever reads it is right all the same
    parameters = sum(math.prod(tensor.shape) for tensor in checkpoint.weights().values())
    return ended(run, checkpoint.state["progress"], why, parameters, already=True)


def resuming(run: Path) -> str:
    """Return the call that goes on with a run."""
    return call("train", resume="auto", out=run)


def last_words(run: RunFolder) -> str:
    """Say what is kept of a run that is left at once; where nothing was trained, nothing of it stays."""
    from pylm.checkpoint import steps

    if have := steps(run.path):
        return f"left at once; step_{have[-1]} is kept\n{resuming(run.path)}"
    run.close()
    said = "left at once; nothing was saved yet"
    return f"{said}: this begins again\n{resuming(run.path)}" if run.path.exists() else said


def cannot_write(run: Path, error: OSError) -> PylmError:
    """Return the error of a run whose files cannot be written, as on a full disk: which one, and what is sound."""
    from pylm.checkpoint import newest_sound

    reason = (error.strerror or str(error)).lower()
    room = "free some space; " if error.errno in SPACE else ""
    try:
        sound = newest_sound(run)
    except OSError:
        sound = None
    if sound is not None:
        hint: str | None = f"{room}{sound.name} is sound: {resuming(run)}"
    else:
        hint = f"{room}then run the same again" if room else None
    return PylmError(f"{error.filename or run}: {reason}", hint)


def _last_evaluation(run: Path, step: int) -> dict[str, Any]:
    """Return what the validation split said last; nothing where there is none or nobody wrote it down."""
    found: dict[str, Any] = {}
    path = run / "metrics.jsonl"
    with path.open("rb") if path.exists() else io.BytesIO() as file:
        for written in file:
            # a long run has millions of lines, and few evaluations
            if b'"val_loss"' not in written or not written.endswith(b"\n"):
                continue
            try:
                record = json.loads(written)
                found = record if record["step"] <= step else found
            except (ValueError, TypeError, KeyError, RecursionError):
                continue  # which going on with the run says
    return {key: found.get(key) for key in SCORES}
