"""What is asked for when a model is to be tuned: plain data, the same from a notebook and from the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pylm.config.given import Given

__all__ = ["Tuning"]


@dataclass(frozen=True)
class Tuning:
    """A tuning, as somebody wants it; what it learns, and how, are keys of the section `finetune`.

    Args:
        given: preset, files and keys of the configuration.
        checkpoint: the CHECKPOINT whose weights are tuned; the newest run's best where None.
        out: the folder of the run; named after the base and the time where None.
        resume: `auto` for the run's newest checkpoint, or a CHECKPOINT; None starts a new run.
        allow_inexact: whether a run may go on where it cannot be the same to the bit.
        argv: the words of the command line that asked; none from a program.
        on_incident: a program and its arguments, run when something goes wrong; the user's own file's where None.
        profile: steps to profile; None profiles none.
    """

    given: Given = Given("finetune")
    checkpoint: str | None = None
    out: Path | None = None
    resume: str | None = None
    allow_inexact: bool = False
    argv: tuple[str, ...] = ()
    on_incident: str | tuple[str, ...] | None = None
    profile: int | None = None
