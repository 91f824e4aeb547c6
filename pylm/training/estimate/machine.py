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

__all__ = ["machine_of", "room_of"]

CONTEXT = 600 << 20  # bytes of CUDA's own: code, handles, the libraries' workspaces


def machine_of(subject: Subject, gpus: int | None, on_event: Callable[[Event], None], *, warm: bool = True) -> Machine:
    """Return where a run would be computed.

    Args:
        subject: what is planned.
        gpus: devices that share a step; None: one, as `train` takes it.
        on_event: told what is loaded.
        warm: whether a small model is trained for a step first, so that what this process holds is what one that
            trains holds beside its model.
    """
    train = subject.config.train
    name = backend_name(subject.config)
    on_event(Doing(LOADING[name]))
    if name == "mlx":
        from pylm.training.mlx_backend import machine as of_mlx

        device = of_mlx.choose_device(train.device)
        precision = of_mlx.choose_precision(train.precision, device)
        return Machine("mlx", "mps", precision, resident(), "this Mac", devices=gpus or 1)
    from pylm.training.torch_backend import machine as of_torch

    if gpus is not None and train.device == "auto" and not of_torch.sees_cuda():
        precision = "bf16" if train.precision == "auto" else train.precision
        return Machine("torch", "cuda", precision, CONTEXT, "a GPU", devices=gpus, here=False)
    torch_device = of_torch.choose_device(train.device)
    precision = of_torch.choose_precision(train.precision, torch_device)
    if torch_device.type != "cpu":
        return Machine("torch", torch_device.type, precision, CONTEXT, of_torch.device_name(torch_device),
                       devices=gpus or 1)  # fmt: skip
    of_torch.keep_memory()
    if warm:
        from pylm.training.torch_backend.overhead import warm_up

        warm_up(subject.shape, train)
    return Machine(
        "torch",
        "cpu",
        precision,
        resident() + (0 if warm else of_torch.FIRST_STEP_LOADS),
        stores_logits=not of_torch.has_head_kernel(precision),
        fast_bf16=of_torch.has_fast_bf16(),
        devices=gpus or 1,
    )


def room_of(machine: Machine, out: Path) -> Room:
    """Return what is free: memory where it is computed, and the disk of the run's folder."""
    disk, inodes, place = free_disk(out)
    memory: int | None = None
    if machine.device == "cuda" and machine.here:
        from pylm.training.torch_backend import machine as of_torch

        memory = of_torch.free_device_memory()
    elif machine.here:
        memory = free_memory()
    return Room(memory, disk, inodes, place)
