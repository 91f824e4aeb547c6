"""What a new start of the same line means: the run goes on from its last whole checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pylm.errors import UsageError
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.training.request import Request

__all__ = ["restarted"]


STARTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")


def restarted(request: Request, environ: Mapping[str, str] = os.environ) -> Request:
    """Return what this start is asked for: the same, unless an earlier one has left a checkpoint.

    torchrun and Slurm count their starts in the environment, and say the same line again.
    """
    from pylm.checkpoint import newest_sound

    if all(environ.get(name, "0") == "0" for name in STARTS):
        return request
    if request.out is None:
        if environ.get(STARTS[0], "0") == "0":
            return request
        raise UsageError("a run that is started again needs a folder of its own", f"name it: {param('out', 'runs/x')}")
    if newest_sound(request.out) is None:
        return request
    kept = tuple(one for one in request.given.settings if not _is_more_time(one))
    return replace(request, resume="auto", init_from=None, given=replace(request.given, settings=kept))


def _is_more_time(setting: tuple[str, object, str]) -> bool:
    """Whether it is a time on top of what was trained: the run has added it, and would add it anew."""
    key, value, _ = setting
    return key == "train.max_time" and isinstance(value, str) and value.strip().startswith("+")
