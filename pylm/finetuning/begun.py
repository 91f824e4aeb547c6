"""A tuning that was begun before: where it lies, what it began with, and what may not be otherwise now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.config.cascade import resolve
from pylm.errors import CheckpointError, UsageError
from pylm.training.events import NothingToResume
from pylm.training.init_from import begun_with
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.config.given import Given
    from pylm.finetuning.request import Tuning
    from pylm.training.events import Event

__all__ = ["Begun", "begun_run"]


@dataclass(frozen=True)
class Begun:
    """A run that was begun.

    Attributes:
        run: Its folder.
        base: The checkpoint that it began with.
        has_checkpoint: Whether it has one of its own by now, which holds all that it needs.
    """

    run: Path
    base: Path
    has_checkpoint: bool

    def given(self, request: Tuning) -> Given:
        """Return what was given when it was begun; refuse what is otherwise now."""
        self.refuse_another_base(request.checkpoint)
        stored = resolve(files=[self.run / "config.yaml"], environ={}).config.finetune
        now = request.given.resolve()
        for key, origin in now.origins.items():
            section, _, name = key.partition(".")
            if section == "finetune" and getattr(now.config.finetune, name) != getattr(stored, name):
                self._refuse(f"{key} ({origin})", getattr(now.config.finetune, name), getattr(stored, name))
        if request.given.preset is None and not request.given.files:
            return replace(request.given, files=(str(self.run / "config.yaml"),))
        return request.given

    def refuse_another_base(self, checkpoint: str | None) -> None:
        """Refuse a CHECKPOINT that is not the one that the run began with."""
        from pylm.generation.load import folder_of

        if checkpoint is not None and (path := folder_of(checkpoint)).resolve() != self.base.resolve():
            self._refuse(param("checkpoint"), path, self.base)

    def _refuse(self, what: str, given: Any, began: Any) -> None:
        raise UsageError(
            f"{what} {given} is not what {self.run} was started with, which is {began}",
            f"leave it out to go on; with another {param('out')}, and without {param('resume')}, a new run starts",
        )


def begun_run(request: Tuning, on_event: Callable[[Event], None]) -> Begun | None:
    """Return the run that is to go on; None where a new one begins."""
    from pylm.checkpoint import find, newest_run, steps

    if request.resume is None:
        return None
    run: Path | None = request.out
    try:
        if request.resume != "auto":
            run = find(request.resume).parent.parent
        elif run is None:
            run = newest_run()
    except CheckpointError:
        if request.resume != "auto":
            raise
    if run is None or not (run / "config.yaml").is_file():
        on_event(NothingToResume(run))
        return None
    if resolve(files=[run / "config.yaml"], environ={}).config.finetune.dataset is None:
        raise UsageError(f"{run} was trained, and not tuned", f"{param('out', 'RUN')} names the run that is to go on")
    return Begun(run, Path(begun_with(run)["checkpoint"]), bool(steps(run)))
