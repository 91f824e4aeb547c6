"""What several devices send one another for a step, and what each then holds of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pylm.config.units import format_bytes
from pylm.training.estimate.memory import BYTES
from pylm.training.estimate.rows import held_by

if TYPE_CHECKING:
    from pylm.config.schema import Model as Shape

__all__ = ["LINKS", "sent", "shared", "told"]

# Bytes a second that one device sends while all do: an H100's NVLink, 400 Gbit/s InfiniBand, 100 Gbit/s Ethernet
LINKS = {"NVLink": 450e9, "InfiniBand": 50e9, "Ethernet": 12.5e9}
GRADIENT = 4  # bytes: sums are fp32 whatever is computed in
FLAT, RECEIVED = "gradients in a row", "gradients of the others"


def sent(parameters: int, devices: int, mode: str, precision: str, passes: int) -> int:
    """Return the bytes that each device sends for a step.

    Args:
        parameters: of the model.
        devices: that share the step.
        mode: ddp: gradients go to their owners, masters come back. fsdp: each pass gathers the weights twice, forward
            and backward, and gradients go to whoever has the rows.
        precision: of what is computed in.
        passes: of a step on each.
    """
    times = 2 * GRADIENT if mode == "ddp" else 2 * passes * BYTES[precision] + GRADIENT
    return (devices - 1) * times * parameters // devices


def shared(
    parts: Mapping[str, int], shape: Shape, optimizer: str, precision: str, mode: str, devices: int, passes: int
) -> dict[str, int]:
    """Return the parts of a process's memory where `devices` of them share a model, from those of one alone."""
    held = held_by(shape, optimizer, precision, devices, passes)
    if mode == "ddp":
        masters = parts["weights"]
        return {**parts, "moments": held.moments, FLAT: masters, RECEIVED: masters}
    own = {
        "weights": held.masters,
        "moments": held.moments,
        "compute copies": held.gathered,
        "matrices of Muon": held.matrices,
        "gradients": held.gradients + held.unsummed,
    }
    return {**parts, **own, "checkpoint": parts.get("checkpoint", 0) // devices}


def told(volume: int) -> str:
    """Return in words how long sending takes."""
    times = ", ".join(f"{1e3 * volume / speed:,.3g} ms by {name}" for name, speed in LINKS.items())
    return f"each device sends {format_bytes(volume)} a step: {times}"
