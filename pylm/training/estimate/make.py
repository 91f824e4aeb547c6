"""A request planned: its subject, this machine, what it takes, how long, and whether it fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pylm.errors import UsageError
from pylm.training.backends import measured_flops
from pylm.training.estimate.exchange import told
from pylm.training.estimate.machine import machine_of, room_of
from pylm.training.estimate.need import OVERHEAD, Machine, Need, need_of
from pylm.training.estimate.plan import Plan, judge, margin
from pylm.training.estimate.sharing import shared_as
from pylm.training.estimate.speed import Speed, by_products, probed, seconds_of
from pylm.training.estimate.subject import Subject, subject_of
from pylm.training.events import Event
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.training.estimate.room import Room
    from pylm.training.request import Request

__all__ = ["plan"]

MOST_DEVICES = 1 << 16
MOST_TOKENS = 1 << 14  # of a pass, where nobody knows how much memory there is
LENT = 312e12  # FLOPs a second in bf16 of an A100 by its data sheet, for GPUs that are not here


def plan(
    request: Request,
    *,
    gpus: int | None = None,
    probe: bool = True,
    on_event: Callable[[Event], None] = lambda event: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Plan:
    """Return what a request takes; nothing is written, and no text is tokenized.

    Args:
        request: what would be trained.
        gpus: devices that share each step, here or elsewhere; None: the one that `train` would take.
        probe: whether steps are taken here to tell how long it takes.
        on_event: told what is done, which may take seconds.
        stopping: asked while probing.
    """
    if gpus is not None and not (type(gpus) is int and 1 <= gpus <= MOST_DEVICES):
        raise UsageError(f"{param('gpus', gpus)} is no number of devices", f"from 1 to {MOST_DEVICES:,}")
    subject = subject_of(request, on_event)
    machine = machine_of(subject, gpus, on_event)
    room = room_of(machine, request.out or Path("runs"))
    sharing = shared_as(subject, machine, room)
    machine = machine._replace(mode=sharing.mode)
    need, speed = _settled(subject, machine, room, probe, on_event, stopping)
    return _plan(subject, machine, room, need, speed, sharing.why)


def _settled(
    subject: Subject,
    machine: Machine,
    room: Room,
    probe: bool,
    on_event: Callable[[Event], None],
    stopping: Callable[[], bool],
) -> tuple[Need, Speed]:
    """Return what a run takes and how fast it goes: the one tells how much there is to do, the other how long it is."""
    need = need_of(subject, machine, _largest(subject, machine, room))
    # a whole model is tried, which devices that each hold a part were chosen for not to hold
    if probe and machine.here and machine.mode != "fsdp" and not judge(subject, machine, need, room).short:
        speed = probed(subject, need, on_event, stopping, machine.devices)
    elif machine.here:
        flops = measured_flops(subject.config, on_event)
        where = "what matrix products reach here" if machine.devices == 1 else "devices as fast as this one"
        speed = by_products(need, flops, machine.devices, where)
    else:
        speed = by_products(need, LENT, machine.devices, "the data sheet of an A100 and 40 % of its speed")
    return need_of(subject, machine, speed.micro_batch or _largest(subject, machine, room), speed.step), speed


def _largest(subject: Subject, machine: Machine, room: Room) -> int | None:
    """Return the most rows a pass that a device beside the processor holds; None where the search is another one."""
    train, context = subject.config.train, subject.shape.context_length
    if machine.device == "cpu" or train.micro_batch != "auto":
        return None
    rows = 1
    while room.memory is not None or 2 * rows * context <= MOST_TOKENS:
        larger = need_of(subject, machine, 2 * rows)
        if room.memory is not None and larger.memory + margin(larger.memory) > room.memory:
            break
        if larger.batches.micro_batch <= rows:
            break
        rows *= 2
    return rows


def _plan(subject: Subject, machine: Machine, room: Room, need: Need, speed: Speed, why: str | None) -> Plan:
    """Put it together; `why` says why devices share the model as they do."""
    verdict = judge(subject, machine, need, room)
    train = subject.config.train
    limit = None if train.max_time is None else max(train.max_time - subject.done[1], 0.0)
    notes = (*subject.notes, *_notes(machine, need, why))
    return Plan(
        fits=not verdict.short,
        why_not=verdict.short,
        changes=verdict.changes,
        parameters=need.parameters,
        tables=need.tables,
        memory=need.memory,
        memory_parts=need.parts,
        memory_margin=margin(need.memory),
        memory_free=room.memory,
        disk=need.disk.needed,
        disk_checkpoint=need.disk.checkpoint,
        disk_checkpoints=need.disk.checkpoints,
        disk_shards=need.disk.shards,
        disk_free=room.disk,
        inodes_free=room.inodes,
        flops_per_token=need.flops_per_token,
        flops=need.flops_per_token * need.tokens,
        tokens=need.tokens,
        steps=need.length.steps,
        batch=need.batches,
        length=need.length.why,
        seconds=seconds_of(speed, need, limit, subject.done[0]),
        seconds_per_step=speed.step,
        seconds_from=speed.why,
        cache_per_token=need.kv_per_token,
        sequences_that_fit=_sequences(machine, need, room),
        devices=machine.devices,
        parallel=need.mode,
        sent=need.sent,
        device=machine.device,
        precision=machine.precision,
        notes=notes,
    )


def _sequences(machine: Machine, need: Need, room: Room) -> int | None:
    """Return how many sequences can be written at once: the weights take their place first."""
    if room.memory is None:
        return None
    weights = need.parameters * (4 if machine.precision == "fp32" else 2)
    left = room.memory - need.parts[OVERHEAD] - weights
    return max(left // (need.kv_per_token * need.shape.context_length), 0)


def _notes(machine: Machine, need: Need, why: str | None) -> tuple[str, ...]:
    """Return what is said beside the figures."""
    notes = []
    if machine.devices > 1:
        passes, all_of_it = need.batches.grad_accum_steps, "every one holds all weights and gradients"
        holds = all_of_it if need.mode == "ddp" else "every one holds its share of weights and gradients"
        notes.append(
            f"{machine.devices} devices share the tokens of a step, {passes} "
            f"{'pass' if passes == 1 else 'passes'} each; {holds}, and its share of the moments"
        )
        if why is not None:
            notes.append(f"{param('parallel', need.mode)}: {why}")
        notes.append(f"{told(need.sent)}; it is not counted in the time")
    if not machine.here:
        notes.append("there is no GPU here: how much memory one has is not known")
    if machine.device != "cpu":
        notes.append("memory on such a device was not measured: tensors are counted, and a twentieth more")
    return tuple(notes)
