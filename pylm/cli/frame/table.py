"""Rows of words and numbers as the lines of a table."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

__all__ = ["table"]


def table(rows: Sequence[Sequence[str]], to_the_left: Collection[int] = (0,)) -> Iterator[str]:
    """Yield the lines of a table, the columns that are numbered to the left and the others, numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if number in to_the_left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
