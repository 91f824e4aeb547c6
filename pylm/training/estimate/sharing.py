"""What each of several processes holds where nobody said: all of the model while that fits everywhere, else a part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pylm.config.units import format_bytes
from pylm.training.estimate.need import Machine, need_of
from pylm.training.estimate.plan import margin
from pylm.wording import param

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pylm.training.estimate.room import Room
    from pylm.training.estimate.subject import Subject

__all__ = ["Sharing", "shared_as"]

NOTED = ("parallel", "parallel_why", "processes")
ASKED = "it was asked for"


class Sharing(NamedTuple):
    """How several processes share a model."""

    mode: str  # ddp: each has all of it; fsdp: its share; none: there is one process
    why: str | None = None  # where that was left to the machine

    def noted(self, choices: Mapping[str, Any], processes: int) -> dict[str, Any]:
        """Return a run's choices with this one, in place of one of other processes; one process has none."""
        others = {key: value for key, value in choices.items() if key not in NOTED}
        if self.mode == "none":
            return others
        return others | dict(zip(NOTED, (self.mode, self.why or ASKED, processes), strict=True))


def shared_as(
    subject: Subject, machine: Machine, room: Room, before: Mapping[str, Any] | None = None, rows: int | None = None
) -> Sharing:
    """Return how the devices of a machine share a model, by the same figures for a plan and for a run.

    Args:
        subject: what is planned.
        machine: where.
        room: what is free on the device that has least.
        before: what a run that goes on has chosen: as many processes go on as they began.
        rows: of a pass, where they were chosen.
    """
    train, world = subject.config.train, machine.devices
    if world == 1:
        return Sharing("none")
    if train.parallel in ("ddp", "fsdp"):
        return Sharing(train.parallel)
    if before and before.get("processes") == world and "parallel" in before:
        return Sharing(before["parallel"], before["parallel_why"])
    whole = need_of(subject, machine._replace(mode="ddp"), rows).memory
    needed = f"{format_bytes(whole)} (± {format_bytes(margin(whole))}) are needed on each of {world:,}"
    if room.memory is None:
        return Sharing("ddp", f"{needed}; what is free there is not known")
    figures = f"{needed}, and {format_bytes(room.memory)} are free on the one that has least"
    if whole + margin(whole) <= room.memory:
        return Sharing("ddp", figures)
    if train.determinism == "bitwise":
        return Sharing("ddp", f"{figures}: {param('determinism', 'bitwise')} sums in an order that fsdp does not keep")
    if subject.trained.adapter is not None:
        return Sharing("ddp", f"{figures}: fsdp trains no adapters")
    return Sharing("fsdp", f"as ddp {figures}")
