"""Lines in the dots of Braille characters, or in stars where a terminal has no such: what a terminal shows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pylm.runs.drawing.panel import Panel, pieces

__all__ = ["canvas", "labelled"]

# the dots of a Braille character, by column and row
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
EMPTY = 0x2800
ASCII = "*o+x#@%&"
MARKS = ("✗", "!")
Cell = tuple[str, int]  # a character and the number of its line; -1 where there is none


def canvas(panel: Panel, columns: int, rows: int, plain: bool = False) -> list[list[Cell]]:
    """Return the cells of a panel, row by row; where lines cross, the last one has the cell's colour.

    Args:
        panel: What is drawn; its faint lines are left out.
        columns: Of characters.
        rows: Of characters.
        plain: Whether only ASCII is there.
    """
    (left, right), (low, high) = panel.bounds()
    curved = math.log if panel.log else float
    across, down = (1, 1) if plain else (2, 4)
    width, height = across * columns - 1, down * rows - 1
    bits, owner = [[0] * columns for _ in range(rows)], [[-1] * columns for _ in range(rows)]
    lines = [line for line in panel.lines if not line.faint]
    for number, line in enumerate(lines):
        for part in pieces(line, panel.log):
            spots = [
                (
                    round((x - left) / (right - left) * width),
                    round((curved(high) - curved(y)) / (curved(high) - curved(low)) * height),
                )
                for x, y in part
            ]
            for x, y in _joined(spots):
                bits[y // down][x // across] |= DOTS[x % across][y % down]
                owner[y // down][x // across] = number
    cells = [
        [(_character(bit, number, plain), number) for bit, number in zip(*row, strict=True)]
        for row in zip(bits, owner, strict=True)
    ]
    for number, line in enumerate(lines):
        for place in line.broken:
            cells[0][round((place - left) / (right - left) * width) // across] = (MARKS[plain], number)
    return cells


def labelled(panel: Panel, columns: int, rows: int) -> str:
    """Return a panel with its values at the side and its places below."""
    (left, right), (low, high) = panel.bounds()
    lines = []
    for row, cells in enumerate(canvas(panel, columns, rows)):
        at = high - (high - low) * row / max(rows - 1, 1)
        lines.append(f"{at:7.2f} ┤{''.join(character for character, _ in cells)}".rstrip(chr(EMPTY)))
    places = f"{panel.x_label} {left:,.0f}"
    lines.append(f"{'':8}└{places}{f'{right:,.0f}':>{columns - len(places)}}")
    return "\n".join(lines)


def _character(bits: int, owner: int, plain: bool) -> str:
    if not plain:
        return chr(EMPTY | bits)
    return ASCII[owner % len(ASCII)] if bits else " "


def _joined(spots: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the dots of the straight lines from spot to spot."""
    dots = list(spots[:1])
    for (x, y), (to_x, to_y) in zip(spots, spots[1:], strict=False):
        steps = max(abs(to_x - x), abs(to_y - y), 1)
        dots += [
            (x + round((to_x - x) * step / steps), y + round((to_y - y) * step / steps)) for step in range(1, steps + 1)
        ]
    return dots
