"""A plan: what a run takes, what is free here, whether the one fits the other, and what to change where it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import PylmError
from pylm.training.estimate.changes import suggestions
from pylm.training.estimate.need import Machine, Need
from pylm.training.estimate.room import Room
from pylm.training.estimate.words import lines_of, sentences, words_of
from pylm.training.plan import Batches
from pylm.wording import in_python

if TYPE_CHECKING:
    from pylm.training.estimate.subject import Subject

__all__ = ["Change", "Plan", "Verdict", "judge", "margin"]

# Of the errors of docs/plan.md's table: beside them stands what a Python that was built otherwise holds
MARGIN_SHARE, MARGIN_BYTES = 0.08, 48 << 20


@dataclass(frozen=True)
class Change:
    """Values of keys with which a run fits, and the memory and disk that it then takes."""

    keys: Mapping[str, Any]
    memory: int
    disk: int


@dataclass(frozen=True)
class Plan:
    """What a run takes and what is free, in bytes, seconds and counts. Printed, it is a table."""

    fits: bool
    why_not: tuple[str, ...]  # a sentence for each thing that is short
    changes: tuple[Change, ...]  # with each of which it fits
    parameters: int
    tables: int  # of them: those of embeddings, positions and the head
    memory: int  # the most that the process holds on one device
    memory_parts: Mapping[str, int]
    memory_margin: int  # that the prediction may be off by
    memory_free: int | None  # None where nobody can tell
    disk: int
    disk_checkpoint: int
    disk_checkpoints: int  # that exist at once
    disk_shards: int  # still to be written
    disk_free: int
    inodes_free: int | None
    flops_per_token: float
    flops: float
    tokens: int
    steps: int
    batch: Batches
    length: str  # what says how many steps
    seconds: float | None
    seconds_per_step: float | None
    seconds_from: str
    cache_per_token: int  # bytes of keys and values
    sequences_that_fit: int | None  # of the whole context, beside the weights, while it writes
    devices: int
    parallel: str  # ddp: each has all of the model; fsdp: its share; none: there is one
    sent: int  # bytes by each device, a step
    device: str
    precision: str
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """In words, a line a subject."""
        return in_python("\n".join(lines_of(self)))

    def told(self, spelled: Callable[[str], str]) -> Plan:
        """Return it with its sentences as `spelled` writes the parameters that they name."""
        why_not, notes = tuple(map(spelled, self.why_not)), tuple(map(spelled, self.notes))
        return replace(self, why_not=why_not, notes=notes, length=spelled(self.length))

    def as_dict(self) -> dict[str, Any]:
        """Return it as what JSON has."""
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """Whether a run fits, and what is said where it does not."""

    short: tuple[str, ...]
    changes: tuple[Change, ...] = ()
    close: str | None = None  # it may fit and may not

    def error(self, folder: Path) -> PylmError:
        """Return what refuses the run."""
        return PylmError(f"{folder}: {'; '.join(self.short)}", words_of(self.changes, self.short))


def margin(memory: int) -> int:
    """Return what a prediction may be off by."""
    return int(MARGIN_SHARE * memory) + MARGIN_BYTES


def judge(subject: Subject, machine: Machine, need: Need, room: Room, *, certain: bool = False) -> Verdict:
    """Say whether a run fits.

    Args:
        subject: what is planned.
        machine: where.
        need: what it takes.
        room: what is free.
        certain: whether only what cannot fit is refused, and not what may.
    """

    def short(one: Need, sign: int) -> tuple[str, ...]:
        return tuple(sentences(one, machine, room, sign * margin(one.memory)))

    found = short(need, -1 if certain else 1)
    if not found:
        close = short(need, 1)
        return Verdict((), close=close[0] if close else None)
    fitting = suggestions(subject, machine, need, lambda one: not short(one, 1))
    return Verdict(found, tuple(Change(keys, one.memory, one.disk.needed) for keys, one in fitting))
