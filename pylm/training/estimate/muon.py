"""What Muon takes in memory while it steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pylm.training.optim.rules import AT_ONCE, rows_of

if TYPE_CHECKING:
    from pylm.training.estimate.heap import Place
    from pylm.training.estimate.memory import Memory

__all__ = ["muon"]


def muon(memory: Memory) -> None:
    """The momenta of a group are made orthogonal, those of one shape together."""
    updates: list[Place] = []
    shapes: dict[tuple[int, int], int] = {}
    for name in sorted(memory.shapes):
        if memory.moments(name) != 1:
            continue
        wide = [memory.take("optimizer", memory.sizes[name], 4)] if memory.c < 4 else []
        updates.append(memory.take("optimizer", memory.sizes[name], 4))
        memory.heap.give(*wide)
        rows, columns = memory.shapes[name]
        for part in rows_of(name, rows, columns):
            shapes[part, columns] = shapes.get((part, columns), 0) + 1
    for (rows, columns), count in shapes.items():
        together = max(AT_ONCE // (rows * columns), 1)
        for first in range(0, count, together):
            _orthogonal(memory, min(together, count - first), rows, columns)
    memory.heap.give(*updates)


def _orthogonal(memory: Memory, count: int, rows: int, columns: int) -> None:
    numbers, square = count * rows * columns, count * min(rows, columns) ** 2
    each = 2 if memory.run.fast_bf16 else 4
    stacked = memory.take("optimizer", numbers, 4)
    divided = memory.take("optimizer", numbers, 4)
    x = divided
    if each == 2:
        x = memory.take("optimizer", numbers, each)
        memory.heap.give(divided)
    if rows > columns:  # it works on the transpose, which products copy
        memory.heap.give(memory.take("optimizer", numbers, each))
    for _ in range(2):
        squares = [memory.take("optimizer", square, each) for _ in range(2)]
        new = memory.take("optimizer", numbers, each)
        memory.heap.give(*squares, x)
        x = new
    memory.heap.give(stacked, x)
