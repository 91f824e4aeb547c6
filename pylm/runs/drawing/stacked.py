"""Where time went, one share upon the other: SVG within a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from pylm.runs.drawing.axes import spelled, ticks
from pylm.runs.drawing.panel import COLOURS

__all__ = ["stacked"]

WIDTH, HEIGHT = 1200, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 30, 40


def stacked(parts: Mapping[str, Sequence[float]], low: float, high: float, title: str) -> str:
    """Return the share of each part in each of so many equal stretches from low to high."""
    columns = max(len(values) for values in parts.values())
    wholes = [sum(values[column] for values in parts.values()) for column in range(columns)]
    across, floor = (WIDTH - LEFT - RIGHT) / columns, HEIGHT - BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" role="img" aria-label="{escape(title)}">'
    ]
    below = [0.0] * columns
    for number, (name, values) in enumerate(parts.items()):
        above = [
            under + (value / whole if whole else 0.0) for under, value, whole in zip(below, values, wholes, strict=True)
        ]
        colour = COLOURS[number % len(COLOURS)]
        lines.append(
            f'<path d="{_area(below, above, across, floor)}" fill="{colour}"><title>{escape(name)}</title></path>'
        )
        lines += _name(number, name, colour)
        below = above
    for place in ticks(low, high, whole=True):
        x = LEFT + (place - low) / (high - low) * (WIDTH - LEFT - RIGHT)
        lines.append(_text(x, floor + 18, spelled(place), "middle"))
    lines += [_text(LEFT - 8, floor - share * (floor - TOP) + 4, f"{share:.0%}", "end") for share in (0.0, 0.5, 1.0)]
    return "\n".join([*lines, "</svg>"])


def _area(below: Sequence[float], above: Sequence[float], across: float, floor: int) -> str:
    """Return the path around a part: along its upper edge, and back along its lower one."""

    def edge(shares: Sequence[float], numbers: Sequence[int], back: bool) -> Iterator[str]:
        for number in numbers:
            y = floor - shares[number] * (floor - TOP)
            ends = (LEFT + number * across, LEFT + (number + 1) * across)
            for x in reversed(ends) if back else ends:
                yield f"{x:.1f} {y:.1f}"

    numbers = range(len(above))
    return "M" + "L".join([*edge(above, numbers, False), *edge(below, numbers[::-1], True)]) + "Z"


def _name(number: int, name: str, colour: str) -> list[str]:
    x = LEFT + number * 150
    return [f'<rect x="{x}" y="6" width="12" height="12" fill="{colour}"/>', _text(x + 18, 16, name, "start")]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="11" fill="currentColor"'
    return f'<text {place} text-anchor="{anchor}">{escape(text)}</text>'
