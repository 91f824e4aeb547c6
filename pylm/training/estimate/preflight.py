"""What `pylm train` refuses before it starts: a run that certainly does not fit, by the plan that `pylm plan` makes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pylm.training.estimate.machine import machine_of, room_of
from pylm.training.estimate.need import need_of
from pylm.training.estimate.plan import judge
from pylm.training.estimate.sharing import shared_as
from pylm.training.estimate.subject import Facts, Subject, windows_held_back
from pylm.training.events import Note

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pylm.config.schema import Model as Shape
    from pylm.training.estimate.sharing import Sharing
    from pylm.training.events import Event
    from pylm.training.session import Beginning

__all__ = ["shared_as_fits"]


def shared_as_fits(begin: Beginning, shape: Shape, folder: Path, on_event: Callable[[Event], None]) -> Sharing:
    """Return how the processes share the model, the same in all; refuse a run that would run out of memory or disk.

    Refused is what would whatever happens; what may become too little is said.

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
    machine = machine_of(subject, None, on_event, world=begin.ranks.world)
    room = room_of(machine, folder)
    before = {} if begin.checkpoint is None else begin.checkpoint.state["choices"]
    if not begin.ranks.alone:  # one process's figures decide for all: the largest overhead, and the least that is free
        overhead, free = begin.ranks.worst(machine.overhead, room.memory)
        machine, room = machine._replace(overhead=overhead), replace(room, memory=free)
    sharing = shared_as(subject, machine, room, before, before.get("micro_batch"))
    machine = machine._replace(mode=sharing.mode)
    verdict = judge(subject, machine, need_of(subject, machine, before.get("micro_batch")), room, certain=True)
    if verdict.short:
        raise verdict.error(folder)
    if verdict.close is not None:
        on_event(Note(f"this may not fit: {verdict.close}"))
    return sharing
