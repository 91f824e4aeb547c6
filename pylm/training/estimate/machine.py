"""Where a run would be computed, and what is free there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pylm.training.backends import LOADING, backend_name
from pylm.training.estimate.need import Machine
from pylm.training.estimate.room import Room, free_disk, free_memory, resident
from pylm.training.events import Doing, Event

if TYPE_CHECKING:
    from pylm.training.estimate.subject import Subject
    from pylm.training.world import World

__all__ = ["machine_of", "room_of"]

CONTEXT = 600 << 20  # bytes of CUDA's own: code, handles, the libraries' workspaces


def machine_of(
    subject: Subject, gpus: int | None, on_event: Callable[[Event], None], *, world: World | None = None
) -> Machine:
    """Return where a run would be computed.

    Args:
        subject: what is planned.
        gpus: devices that share a step, here or elsewhere; None: one, as `train` takes it.
        on_event: told what is loaded.
        world: the processes that are about to train it, of which this is one. None: it is planned alone, and a small
            model is trained for a step first, so that what this process holds is what one that trains holds beside its
            model.
    """
    train = subject.config.train
    devices = (gpus or 1) if world is None else world.size
    name = backend_name(subject.config)
    on_event(Doing(LOADING[name]))
    if name == "mlx":
        from pylm.training.mlx_backend import machine as of_mlx

        device = of_mlx.choose_device(train.device)
        precision = of_mlx.choose_precision(train.precision, device)
        return Machine("mlx", "mps", precision, resident(), "this Mac", devices=devices)
    from pylm.training.torch_backend import machine as of_torch

    if gpus is not None and train.device == "auto" and not of_torch.sees_cuda():
        precision = "bf16" if train.precision == "auto" else train.precision
        return Machine("torch", "cuda", precision, CONTEXT, "a GPU", devices=devices, here=False)
    torch_device = of_torch.choose_device(train.device)
    precision = of_torch.choose_precision(train.precision, torch_device)
    if torch_device.type != "cpu":
        first = (torch_device.index or 0) if world is None or world.size == 1 else world.local_rank
        indices = tuple(range(first, first + (devices if world is None else 1)))
        return Machine("torch", torch_device.type, precision, CONTEXT, of_torch.device_name(torch_device),
                       devices=devices, indices=indices)  # fmt: skip
    of_torch.keep_memory()
    if world is None:
        from pylm.training.torch_backend.overhead import warm_up

        warm_up(subject.shape, train)
    beside = devices if world is None else world.local_size
    return Machine(
        "torch",
        "cpu",
        precision,
        resident() + (0 if world is None else of_torch.FIRST_STEP_LOADS),
        "this machine" if beside == 1 else f"this machine for each of {beside} processes",
        stores_logits=not of_torch.has_head_kernel(precision),
        fast_bf16=of_torch.has_fast_bf16(),
        devices=devices,
        beside=beside,
    )


def room_of(machine: Machine, out: Path) -> Room:
    """Return what is free: memory where it is computed, and the disk of the run's folder."""
    disk, inodes, place = free_disk(out)
    memory: int | None = None
    if machine.device == "cuda" and machine.here:
        from pylm.training.torch_backend import machine as of_torch

        memory = of_torch.free_device_memory(machine.indices)
    elif machine.here:
        memory = free_memory(machine.beside)
    return Room(memory, disk, inodes, place)
