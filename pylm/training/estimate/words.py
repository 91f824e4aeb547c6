"""A plan in words: its table, and the sentences that say what does not fit and what would."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pylm.config.units import format_bytes, format_count, format_duration
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.training.estimate.need import Machine, Need
    from pylm.training.estimate.plan import Change, Plan
    from pylm.training.estimate.room import Room

__all__ = ["lines_of", "sentences", "words_of"]

FILES_OF_CHECKPOINT = 8
SMALLEST_PART = 0.005  # of the memory, that is named


def sentences(need: Need, machine: Machine, room: Room, margin: int) -> Iterator[str]:
    """Return a sentence for each thing of which there is not enough, once what is needed is `margin` more."""
    if room.memory is not None and need.memory + margin > room.memory:
        yield (
            f"{format_bytes(need.memory)} of memory are needed (± {format_bytes(abs(margin))}) and "
            f"{format_bytes(room.memory)} are free on {machine.name}"
        )
    disk = need.disk
    if disk.needed > room.disk:
        shards = f" and {format_bytes(disk.shards)} of tokens" if disk.shards else ""
        yield (
            f"{disk.checkpoints} checkpoints of {format_bytes(disk.checkpoint)} each{shards} do not fit: "
            f"{format_bytes(room.disk)} are free in {room.place}"
        )
    if room.inodes is not None and disk.checkpoints * FILES_OF_CHECKPOINT > room.inodes:
        yield f"the disk of {room.place} takes {room.inodes:,} more files, and checkpoints are more"


def words_of(changes: Iterable[Change], short: Iterable[str]) -> str:
    """Return the hint that names what would fit."""
    found = [f"{named(change)} takes {format_bytes(change.memory)} and fits" for change in changes]
    if any("checkpoints" in sentence for sentence in short):
        found.append(f"free some space, or write elsewhere with {param('out')}")
    return "; ".join(found) or "a smaller model, or a machine with more memory"


def named(change: Change) -> str:
    """Return the values of a change as they are given."""
    return ", ".join(param(key.partition(".")[2], value) for key, value in change.keys.items() if value is not None)


def lines_of(plan: Plan) -> Iterator[str]:
    """Return the table."""
    tables = f", {format_count(plan.tables)} of them in tables" if plan.tables else ""
    yield _line("model", f"{format_count(plan.parameters)} parameters{tables}")
    free = "" if plan.memory_free is None else f"; {format_bytes(plan.memory_free)} are free"
    each = " on each device" if plan.devices > 1 else ""
    yield _line(
        "memory", f"{format_bytes(plan.memory)}{each}, ± {format_bytes(plan.memory_margin)} ({plan.precision}){free}"
    )
    for name, size in sorted(plan.memory_parts.items(), key=lambda item: -item[1]):
        if size >= SMALLEST_PART * plan.memory:
            yield _line("", f"{format_bytes(size):>8}  {name}")
    yield _line(
        "disk",
        f"{format_bytes(plan.disk)}: {plan.disk_checkpoints} checkpoints of {format_bytes(plan.disk_checkpoint)}"
        + (f", {format_bytes(plan.disk_shards)} of tokens" if plan.disk_shards else "")
        + f"; {format_bytes(plan.disk_free)} are free",
    )
    yield _line("batch", str(plan.batch))
    yield _line("length", f"{plan.steps:,} steps, {format_count(plan.tokens)} tokens: {plan.length}")
    yield _line("compute", f"{format_count(plan.flops_per_token)} FLOPs a token, {plan.flops:.3g} in all")
    if plan.seconds is not None:
        share = f" on {plan.devices} devices" if plan.devices > 1 else ""
        yield _line("time", f"about {format_duration(plan.seconds)}{share}, by {plan.seconds_from}")
    else:
        yield _line("time", plan.seconds_from)
    if plan.sequences_that_fit is not None:
        yield _line(
            "writing",
            f"{format_bytes(plan.cache_per_token)} of cache a token: {plan.sequences_that_fit:,} sequences of the "
            "whole context fit at once",
        )
    for note in plan.notes:
        yield _line("note", note)
    yield _line("fits", "yes" if plan.fits else f"no: {'; '.join(plan.why_not)}")
    for change in plan.changes:
        yield _line(
            "", f"{named(change)} fits: {format_bytes(change.memory)} of memory, {format_bytes(change.disk)} of disk"
        )


def _line(name: str, text: str) -> str:
    return f"{name:<8} {text}"
