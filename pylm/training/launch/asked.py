"""What is asked of a training that may go on with a run: its configuration, as far as it is known beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylm.config.schema import Config
    from pylm.training.request import Request

__all__ = ["asked_configuration"]


def asked_configuration(request: Request, out: Path | None) -> Config:
    """Return the configuration that was given; of a run that goes on, with what its folder says beneath it."""
    given = request.configuration()
    stored = None if out is None else out / "config.yaml"
    if request.resume is not None and stored and stored.is_file() and given.preset is None and not given.files:
        given = replace(given, files=(str(stored),))
    return given.resolve().config
