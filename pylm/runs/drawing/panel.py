"""What a picture is made of, whoever draws it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["COLOURS", "FEW", "Line", "Panel", "Spot", "pieces"]

# Okabe and Ito's, which the colour-blind tell apart, on white and on black; then the two of a run alone
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7aa6c2", "#c0392b")
FEW = 40  # points of a line that are dots too: one alone would be no line


class Spot(NamedTuple):
    """A place that is marked, and what is said of it."""

    x: float
    text: str


@dataclass(frozen=True)
class Line:
    """A curve; where a y is not finite it is broken and marked, and nothing is drawn across."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str = COLOURS[0]
    faint: bool = False  # what lies behind a smoothed line, or was taken back: it stands in no legend
    dashed: bool = False

    @property
    def broken(self) -> list[float]:
        """Return the places with no finite number."""
        return [x for x, y in zip(self.x, self.y, strict=True) if not math.isfinite(y)]


@dataclass(frozen=True)
class Panel:
    """Lines over one pair of axes, and the places that are marked."""

    title: str
    lines: Sequence[Line]
    x_label: str = "step"
    y_label: str = ""
    cuts: Sequence[Spot] = field(default_factory=tuple)
    whole: bool = False  # places are whole numbers
    log: bool = False

    def bounds(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the ranges of both axes, never empty."""
        xs = [x for line in self.lines for x in line.x]
        ys = [y for line in self.lines for y in line.y if math.isfinite(y) and (y > 0 or not self.log)]
        left, right = min(xs, default=0.0), max(xs, default=1.0)
        low, high = min(ys, default=0.0), max(ys, default=1.0)
        if high - low < 1e-6 * max(abs(high), 1e-9):  # flat: in the middle, between values that have few digits
            away = abs(high) / 5 or 1e-6
            low, high = low - away, high + away
        return (left, max(right, left + (1 if self.whole else 1e-9))), (low, high)

    @property
    def named(self) -> list[Line]:
        """Return the lines that stand in the legend, each name once."""
        return list({line.label: line for line in self.lines if not line.faint}.values())


def pieces(line: Line, log: bool = False) -> Iterator[list[tuple[float, float]]]:
    """Yield the parts of a line between its breaks."""
    part: list[tuple[float, float]] = []
    for x, y in zip(line.x, line.y, strict=True):
        if math.isfinite(y) and (y > 0 or not log):
            part.append((x, y))
        elif part:
            yield part
            part = []
    if part:
        yield part
