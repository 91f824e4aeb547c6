"""The losses of a run as a picture: characters for a terminal, SVG for a file, both drawn here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from pylm.errors import DataError
from pylm.runs.lines import read_lines

__all__ = ["losses", "svg", "terminal", "ticks"]

Points = list[tuple[int, float]]

# the dots of a Braille character, by column and row
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
COLOURS = {"loss": "#7aa6c2", "val_loss": "#c0392b"}
OTHERS = ("#c0392b", "#4c72b0", "#2a7f62", "#d98c00", "#8e5ea2", "#555555")  # of curves by other names, in turn
FEW = 40  # points of a curve that are dots too: one alone would be no line
LABELS = {"loss": "training", "val_loss": "validation"}


def losses(run: Path) -> dict[str, Points]:
    """The training and validation losses of a run, each as (step, loss)."""
    records: Sequence[Mapping[str, Any]] = list(read_lines(run / "metrics.jsonl"))
    found = {
        key: [(int(record["step"]), float(record[key])) for record in records if record.get(key) is not None]
        for key in LABELS
    }
    if not any(found.values()):
        raise DataError(f"{run / 'metrics.jsonl'} holds no loss", "pylm train writes it as it goes")
    return {key: points for key, points in found.items() if points}


def terminal(points: Points, columns: int = 72, rows: int = 12) -> str:
    """One curve in Braille dots, with the loss at the side and the steps below."""
    (left, right), (low, high) = _bounds([points])
    cells = [[0x2800] * columns for _ in range(rows)]
    width, height = 2 * columns - 1, 4 * rows - 1
    spots = [
        (round((step - left) / (right - left) * width), round((high - loss) / (high - low) * height))
        for step, loss in points
    ]
    for x, y in _joined(spots):
        cells[y // 4][x // 2] |= DOTS[x % 2][y % 4]
    lines = []
    for row, line in enumerate(cells):
        at = high - (high - low) * row / max(rows - 1, 1)
        lines.append(f"{at:7.2f} ┤{''.join(map(chr, line))}".rstrip("\u2800"))
    steps = f"step {left:,}"
    lines.append(f"{'':8}└{steps}{f'{right:,}':>{columns - len(steps)}}")
    return "\n".join(lines)


def svg(curves: Mapping[str, Points], title: str, width: int = 720, height: int = 360) -> str:
    """The curves as an SVG picture, with named axes at round numbers and a legend; few points are dots too."""
    (first, last), (lowest, highest) = _bounds(curves.values())
    across, up = ticks(first, last, whole=True), ticks(lowest, highest)
    left, right = min(first, across[0]), max(last, across[-1])
    low, high = min(lowest, up[0]), max(highest, up[-1])
    margin, top, bottom = 64, 64, 52
    end = width - 20

    def x(step: float) -> float:
        return margin + (step - left) / (right - left) * (end - margin)

    def y(loss: float) -> float:
        return top + (high - loss) / (high - low) * (height - top - bottom)

    middle, centre = (margin + end) / 2, (top + height - bottom) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{margin}" y="24" font-size="15">{escape(title)}</text>',
        f'<text x="{middle:.1f}" y="{height - 12}" font-size="12" text-anchor="middle">step</text>',
        f'<text x="16" y="{centre:.1f}" font-size="12" text-anchor="middle" '
        f'transform="rotate(-90 16 {centre:.1f})">loss</text>',
    ]
    for loss in up:
        parts.append(f'<path d="M{margin} {y(loss):.1f}H{end}" stroke="#ddd"/>')
        parts.append(f'<text x="{margin - 8}" y="{y(loss) + 4:.1f}" font-size="11" text-anchor="end">{loss:g}</text>')
    for step in across:
        parts.append(f'<path d="M{x(step):.1f} {height - bottom}v4" stroke="#888"/>')
        parts.append(
            f'<text x="{x(step):.1f}" y="{height - bottom + 18}" font-size="11" text-anchor="middle">{step:,.0f}</text>'
        )
    parts.append(f'<path d="M{margin} {height - bottom}H{end}" stroke="#888"/>')
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS.get(name, OTHERS[number % len(OTHERS)])
        path = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        if len(points) <= FEW:
            parts += [f'<circle cx="{x(step):.1f}" cy="{y(loss):.1f}" r="3" fill="{colour}"/>' for step, loss in points]
        at = margin + 110 * number  # the legend stands above the grid
        parts.append(f'<path d="M{at} 42h18" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{at + 24}" y="46" font-size="11">{escape(LABELS.get(name, name))}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks(low: float, high: float, most: int = 6, whole: bool = False) -> list[float]:
    """Round numbers from one end to the other: multiples of 1, 2 or 5 times a power of ten, no more than so many."""
    raw = (high - low) / (most - 1)
    scale = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= raw * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)] or [low]


def _bounds(curves: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ranges of both axes, never empty."""
    steps = [step for points in curves for step, _ in points]
    values = [loss for points in curves for _, loss in points]
    left, low = min(steps), min(values)
    return (left, max(max(steps), left + 1)), (low, max(max(values), low + 1e-6))


def _joined(spots: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The dots of the straight lines from spot to spot."""
    dots = list(spots[:1])
    for (x, y), (to_x, to_y) in zip(spots, spots[1:], strict=False):
        steps = max(abs(to_x - x), abs(to_y - y), 1)
        dots += [
            (x + round((to_x - x) * step / steps), y + round((to_y - y) * step / steps)) for step in range(1, steps + 1)
        ]
    return dots
