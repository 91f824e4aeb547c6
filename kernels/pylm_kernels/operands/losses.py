"""The checks that cross_entropy and linear_cross_entropy share."""

from __future__ import annotations

import torch

from pylm_kernels import arguments, transforms
from pylm_kernels.operation import define

REDUCTIONS = ("mean", "sum", "none")


def problem(
    rows: torch.Tensor, name: str, targets: torch.Tensor, softcap: float | None, z_loss: float, reduction: str
) -> str:
    """Return an empty string if targets, settings and the tensor of that name fit together, else a sentence."""
    if wrong := arguments.floating(name, rows):
        return wrong
    if rows.dim() < 2:
        return f"{name}: has {rows.dim()} dimension; it must be [..., rows, columns]"
    if targets.dtype not in (torch.int64, torch.int32):
        return f"targets: dtype {targets.dtype} is not int64 or int32"
    if targets.shape != rows.shape[:-1]:
        shape = ", ".join([str(int(n)) for n in targets.shape])
        return f"targets: shape ({shape}) is not that of {name} without its last dimension"
    if wrong := arguments.same_device("targets", targets, name, rows):
        return wrong
    if softcap is not None and softcap <= 0:
        return f"softcap: {softcap} must be positive, or None"
    if z_loss < 0:
        return f"z_loss: {z_loss} is negative"
    return "" if reduction in REDUCTIONS else f"reduction: {reduction!r} is not one of {', '.join(REDUCTIONS)}"


def _checked(targets: torch.Tensor, classes: int, ignore_index: int) -> torch.Tensor:
    if targets.device.type == "cpu" and transforms.readable(targets):
        wrong = ((targets < 0) | (targets >= classes)) & (targets != ignore_index)
        if bool(wrong.any()):
            first = int(targets[wrong][0])
            raise ValueError(f"targets: {first} is no class; there are {classes}, and ignore_index is {ignore_index}")
    return targets.long().clone()


_operation = define(
    "checked_targets",
    "(Tensor targets, SymInt classes, int ignore_index) -> Tensor",
    _checked,
    lambda targets, classes, ignore_index: targets.new_empty(targets.shape, dtype=torch.int64),
)


def checked(targets: torch.Tensor, classes: int, ignore_index: int) -> torch.Tensor:
    """Return the targets as int64.

    On a CPU a target that is no class is refused. On a GPU that would wait for the device every step: there the kernel
    reads its logit as minus infinity, and the loss is infinite, which every training loop sees.
    """
    if transforms.traced(targets):
        found: torch.Tensor = _operation(targets, classes, ignore_index)
        return found
    return _checked(targets, classes, ignore_index) if targets.device.type == "cpu" else targets.long().contiguous()
