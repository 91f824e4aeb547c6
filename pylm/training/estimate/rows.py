"""What one of several processes holds that each have some rows of a model, as FSDP2 cuts them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from pylm.config.schema import Model as Shape
from pylm.model.parameters import parameters
from pylm.training.estimate.memory import BYTES, PADDING, moments

__all__ = ["Held", "held_by"]


@dataclass(frozen=True)
class Held:
    """Bytes of the process that holds most: what stays, what a step makes of it, what a pass gathers."""

    masters: int  # its rows, fp32
    moments: int  # of what it steps
    matrices: int  # that it steps whole, fp32, beside its rows of them
    gradients: int  # its rows, fp32
    unsummed: int  # gradients of whole parameters, which wait for the last pass of a step
    gathered: int  # what is computed in: the root's parameters, and those of a block and the next

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.masters + self.moments + self.matrices + self.gradients + self.unsummed + self.gathered


def held_by(shape: Shape, optimizer: str, precision: str, processes: int, passes: int = 1) -> Held:
    """Return what the most loaded of so many processes holds, without activations.

    Args:
        shape: of the model, completed.
        optimizer: `adamw` or `muon`.
        precision: of what is computed in.
        processes: that share the model.
        passes: of a step; after one of several the gradients stay whole until the last.
    """
    sizes = {name: one.shape for name, one in parameters(shape).items()}
    padded = {name: _padded(name, size) for name, size in sizes.items()}
    rows = {name: -(-size[0] // processes) * prod(size[1:]) for name, size in padded.items()}
    whole = {name: prod(size) for name, size in padded.items()}
    matrices = {name: prod(size) for name, size in sizes.items() if moments(optimizer, name, len(size)) == 1}
    owned = _largest_share(list(matrices.values()), processes)
    kept = sum(min(count, prod(sizes[name])) for name, count in rows.items() if name not in matrices)
    blocks: dict[str, int] = {}
    for name, count in whole.items():
        unit = ".".join(name.split(".")[:2]) if name.startswith("blocks.") else ""
        blocks[unit] = blocks.get(unit, 0) + count
    root = blocks.pop("", 0)
    return Held(
        masters=4 * sum(rows.values()),
        moments=4 * (2 * kept + owned),
        matrices=4 * owned,
        gradients=4 * sum(rows.values()),
        unsummed=4 * sum(whole.values()) if passes > 1 else 0,
        gathered=BYTES[precision] * (root + sum(sorted(blocks.values())[-2:])),
    )


def _padded(name: str, size: tuple[int, ...]) -> tuple[int, ...]:
    if name not in ("embed.weight", "head.weight"):
        return size
    return (-(-size[0] // PADDING) * PADDING, *size[1:])


def _largest_share(sizes: list[int], processes: int) -> int:
    """Return the most that one process gets of matrices, the largest first, each to whoever has least."""
    filled = [0] * processes
    for size in sorted(sizes, reverse=True):
        filled[filled.index(min(filled))] += size
    return max(filled)
