"""What `pylm train` refuses before it starts: a run that certainly does not fit, by the plan that `pylm plan` makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pylm.training.estimate.machine import machine_of, room_of
from pylm.training.estimate.need import need_of
from pylm.training.estimate.plan import judge
from pylm.training.estimate.subject import Facts, Subject, windows_held_back
from pylm.training.events import Note

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pylm.config.schema import Model as Shape
    from pylm.training.events import Event
    from pylm.training.session import Beginning

__all__ = ["refuse_what_cannot_fit"]


def refuse_what_cannot_fit(begin: Beginning, shape: Shape, folder: Path, on_event: Callable[[Event], None]) -> None:
    """Refuse a run that would run out of memory or of disk whatever happens, and say so where it may.

    Args:
        begin: what the run is made from.
        shape: of its model, complete.
        folder: that it is written to.
        on_event: told what may become too little.
    """
    held_back = 0 if begin.data.identity.validation is None else windows_held_back(begin.config, begin.data.identity)
    assert shape.vocab_size
    facts = Facts(shape.vocab_size, begin.data.tokens, held_back)
    subject = Subject(begin.resolved, shape, facts, done=begin.behind, new=begin.new)
    machine = machine_of(subject, None, on_event, warm=False)
    chosen = None if begin.checkpoint is None else begin.checkpoint.state["choices"].get("micro_batch")
    verdict = judge(subject, machine, need_of(subject, machine, chosen), room_of(machine, folder), certain=True)
    if verdict.short:
        raise verdict.error(folder)
    if verdict.close is not None:
        on_event(Note(f"this may not fit: {verdict.close}"))
