"""What a new start of the same line means: the run goes on from its last whole checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pylm.errors import UsageError
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.training.request import Request
    from pylm.training.world import World

__all__ = ["agreed", "counted", "restarted"]

TORCHRUN, SLURM = "TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"


def counted(environ: Mapping[str, str] = os.environ) -> str:
    """Return what counts a start before this one: a name in the environment; none where this is the first.

    torchrun and Slurm count there, and say the same line again.
    """
    return next((name for name in (TORCHRUN, SLURM) if environ.get(name, "0") != "0"), "")


def agreed(store: Any, world: World, environ: Mapping[str, str] = os.environ) -> str:
    """Return the same in all processes, once one of them has it.

    torchrun's agent counts the deaths of its own machine alone, so that the others' ranks took a new start for the
    first one; and one whose machine is back has counted nothing.

    Args:
        store: in which the processes of this start have met.
        world: all of them, and which one this is.
        environ: of this one.
    """
    store.set(f"start/{world.rank}", counted(environ))
    words = store.multi_get([f"start/{rank}" for rank in range(world.size)])
    return next((name for name in (TORCHRUN, SLURM) if name.encode() in words), "")


def restarted(request: Request, counted_by: str) -> Request:
    """Return what this start is asked for: the same, unless an earlier one has left a checkpoint.

    Args:
        request: what was typed.
        counted_by: what counts an earlier start; none where this is the first.
    """
    from pylm.checkpoint import newest_sound

    if not counted_by or (request.out is None and counted_by == SLURM):
        return request
    if request.out is None:
        raise UsageError("a run that is started again needs a folder of its own", f"name it: {param('out', 'runs/x')}")
    if newest_sound(request.out) is None:
        return request
    kept = tuple(one for one in request.given.settings if not _is_more_time(one))
    return replace(request, resume="auto", init_from=None, given=replace(request.given, settings=kept))


def _is_more_time(setting: tuple[str, object, str]) -> bool:
    """Whether it is a time on top of what was trained: the run has added it, and would add it anew."""
    key, value, _ = setting
    return key == "train.max_time" and isinstance(value, str) and value.strip().startswith("+")
