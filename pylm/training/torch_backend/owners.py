"""Which process steps what: whole matrices where a rule needs them whole, and equal shares of all the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pylm.training.optim.groups import Group as Rules

__all__ = ["UNIT", "Piece", "shares_of_parameters", "units_of"]

# Elements that one process steps, and whose norm it takes, as a whole. Tensors are cut at multiples of it, however many
# processes there are: vectors and sums then begin at the same places, so that the bits are the same.
UNIT = 8192


class Piece(NamedTuple):
    """Elements of a tensor, laid out flat."""

    name: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many they are."""
        return self.stop - self.start


def shares_of_parameters(
    sizes: Mapping[str, Sequence[int]], rules: Sequence[Rules], processes: int
) -> list[list[Piece]]:
    """Return the pieces of each process: matrices of Muon by longest processing time, then the rest where room is.

    Args:
        sizes: shapes of the parameters.
        rules: the optimizer's groups.
        processes: how many there are.
    """
    counts = {name: _count(shape) for name, shape in sizes.items()}
    shares: list[list[Piece]] = [[] for _ in range(processes)]
    work, filled = [0.0] * processes, [0] * processes
    matrices = [name for group in rules if group.rule == "muon" for name in group.names]
    for name in sorted(matrices, key=lambda name: (-_work(sizes[name]), name)):
        least = min(range(processes), key=lambda rank: (work[rank], rank))
        shares[least].append(Piece(name, 0, counts[name]))
        work[least] += _work(sizes[name])
        filled[least] += counts[name]
    rest = sorted(name for group in rules if group.rule != "muon" for name in group.names)
    # a process with more in matrices than its share of everything gets nothing of the rest
    level = _level(filled, sum(counts[name] for name in rest))
    rank = 0
    for name in rest:
        start = 0
        while start < counts[name]:
            while rank < processes - 1 and filled[rank] >= level:
                rank += 1
            room = -(-(level - filled[rank]) // UNIT) * UNIT if rank < processes - 1 else counts[name]
            stop = min(start + max(room, UNIT), counts[name])
            shares[rank].append(Piece(name, start, stop))
            filled[rank] += stop - start
            start = stop
    return shares


def units_of(piece: Piece) -> Iterator[tuple[int, int]]:
    """Yield where each unit of a piece begins and ends in the tensor; a piece begins with a unit."""
    for start in range(piece.start, piece.stop, UNIT):
        yield start, min(start + UNIT, piece.stop)


def _level(filled: Sequence[int], rest: int) -> int:
    """Return how full all processes are that get something of the rest, once it is shared out."""
    low = sorted(filled)
    for several in range(1, len(low) + 1):
        level = -(-(sum(low[:several]) + rest) // several)
        if several == len(low) or level <= low[several]:
            return level
    raise AssertionError


def _count(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _work(shape: Sequence[int]) -> float:
    """Return what making a matrix orthogonal takes, in proportion."""
    rows, columns = shape
    return float(rows * columns * min(rows, columns))
