"""The losses of a run as a picture: characters for a terminal, SVG for a file, both drawn here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from pylm.errors import DataError
from pylm.runs.lines import read_lines

__all__ = ["losses", "svg", "terminal"]

Points = list[tuple[int, float]]

# the dots of a Braille character, by column and row
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
COLOURS = {"loss": "#7aa6c2", "val_loss": "#c0392b"}
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
    """The curves as an SVG picture with axes and a legend."""
    (left, right), (low, high) = _bounds(curves.values())
    margin, top = 56, 36

    def x(step: float) -> float:
        return margin + (step - left) / (right - left) * (width - margin - 16)

    def y(loss: float) -> float:
        return top + (high - loss) / (high - low) * (height - top - 40)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{margin}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for part in range(5):
        loss, step = low + (high - low) * part / 4, left + (right - left) * part / 4
        parts.append(f'<path d="M{margin} {y(loss):.1f}H{width - 16}" stroke="#ddd"/>')
        parts.append(f'<text x="{margin - 6}" y="{y(loss) + 4:.1f}" font-size="11" text-anchor="end">{loss:.2f}</text>')
        parts.append(
            f'<text x="{x(step):.1f}" y="{height - 20}" font-size="11" text-anchor="middle">{step:,.0f}</text>'
        )
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS.get(name, "#333")
        path = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        at = width - 110
        parts.append(f'<path d="M{at} {top + 14 * number - 4}h18" stroke="{colour}" stroke-width="2"/>')
        label = escape(LABELS.get(name, name))
        parts.append(f'<text x="{at + 24}" y="{top + 14 * number}" font-size="11">{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


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
