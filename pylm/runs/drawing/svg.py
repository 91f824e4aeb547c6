"""Panels as SVG, one below the other, in plain elements that any reader takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from pylm.runs.drawing.axes import decades, spelled, ticks
from pylm.runs.drawing.panel import FEW, Line, Panel, pieces

__all__ = ["svg"]

MARGIN, RIGHT, TOP, BOTTOM = 64, 20, 64, 52
LETTER = 6.3  # the width of a letter of the legend
Place = Callable[[float], float]


def svg(panels: Sequence[Panel], width: int = 720, height: int = 360, within_page: bool = False) -> str:
    """Return the panels as one picture; `within_page` it takes the ink of the page and has no ground of its own."""
    tops = [16 * (len(_legend(panel, width)) - 1) for panel in panels]
    whole = sum(tops) + height * len(panels)
    label = escape("; ".join(panel.title for panel in panels))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {whole}" width="{width}" height="{whole}" '
        f'font-family="sans-serif" role="img" aria-label="{label}"' + ("" if within_page else ' color="#222"') + ">"
    ]
    if not within_page:
        parts.append(f'<rect width="{width}" height="{whole}" fill="white"/>')
    down = 0
    for panel, more in zip(panels, tops, strict=True):
        parts += [f'<g transform="translate(0 {down})">'] if down else []
        parts += _drawn(panel, width, height + more, TOP + more)
        parts += ["</g>"] if down else []
        down += height + more
    return "\n".join([*parts, "</svg>"]) + "\n"


def _drawn(panel: Panel, width: int, height: int, top: int) -> Iterator[str]:
    (first, last), (lowest, highest) = panel.bounds()
    across = ticks(first, last, whole=panel.whole)
    up = decades(lowest, highest) if panel.log else ticks(lowest, highest)
    left, right = min(first, across[0]), max(last, across[-1])
    low, high = min(lowest, up[0]), max(highest, up[-1])
    end, floor = width - RIGHT, height - BOTTOM
    curved: Place = math.log if panel.log else float

    def x(place: float) -> float:
        return MARGIN + (place - left) / (right - left) * (end - MARGIN)

    def y(value: float) -> float:
        return top + (curved(high) - curved(value)) / (curved(high) - curved(low)) * (floor - top)

    middle, centre = (MARGIN + end) / 2, (top + floor) / 2
    yield _text(MARGIN, 24, 15, panel.title)
    yield _text(middle, height - 12, 12, panel.x_label, "middle")
    yield (
        f'<text x="16" y="{centre:.1f}" font-size="12" text-anchor="middle" fill="currentColor" '
        f'transform="rotate(-90 16 {centre:.1f})">{escape(panel.y_label)}</text>'
    )
    for value in up:
        yield f'<path d="M{MARGIN} {y(value):.1f}H{end}" stroke="currentColor" stroke-opacity="0.15"/>'
        yield _text(MARGIN - 8, y(value) + 4, 11, f"{value:g}", "end")
    for place in across:
        yield f'<path d="M{x(place):.1f} {floor}v4" stroke="currentColor" stroke-opacity="0.6"/>'
        yield _text(x(place), floor + 18, 11, spelled(place), "middle")
    yield f'<path d="M{MARGIN} {floor}H{end}" stroke="currentColor" stroke-opacity="0.6"/>'
    for cut in panel.cuts:
        yield (
            f'<path class="cut" d="M{x(cut.x):.1f} {top}v{floor - top}" stroke="currentColor" stroke-opacity="0.5" '
            f'stroke-dasharray="2 3"><title>{escape(cut.text)}</title></path>'
        )
    for line in sorted(panel.lines, key=lambda line: not line.faint):  # what is faint lies behind
        yield from _line(line, x, y, top, panel.log)
    for number, row in enumerate(_legend(panel, width)):
        yield from _row(row, 42 + 16 * number)


def _line(line: Line, x: Place, y: Place, top: int, log: bool) -> Iterator[str]:
    """Yield a line's pieces, its dots where they are few, and the marks of what is not finite."""
    look = f'stroke="{line.colour}" stroke-width="{1 if line.faint else 1.6}"'
    look += (' stroke-opacity="0.35"' if line.faint else "") + (' stroke-dasharray="6 3"' if line.dashed else "")
    for part in pieces(line, log):
        path = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in part)
        yield f'<polyline points="{path}" fill="none" {look} stroke-linejoin="round"/>'
        if len(line.x) <= FEW and not line.faint:
            yield from (f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="{line.colour}"/>' for a, b in part)
    for place in dict.fromkeys(round(x(place), 1) for place in line.broken):
        yield (
            f'<path class="broken" d="M{place - 3:.1f} {top - 3}l6 6m0 -6l-6 6" stroke="{line.colour}" '
            f'stroke-width="1.6"><title>{escape(line.label)}: not finite</title></path>'
        )


def _legend(panel: Panel, width: int) -> list[list[tuple[float, Line]]]:
    """Return the rows of the legend: each line's name with its place."""
    rows: list[list[tuple[float, Line]]] = [[]]
    at = float(MARGIN)
    for line in panel.named:
        wide = max(24 + LETTER * len(line.label) + 16, 110)
        if rows[-1] and at + wide > width - RIGHT:
            rows.append([])
            at = MARGIN
        rows[-1].append((at, line))
        at += wide
    return rows


def _row(row: list[tuple[float, Line]], y: int) -> Iterator[str]:
    for at, line in row:
        dashes = ' stroke-dasharray="6 3"' if line.dashed else ""
        yield f'<path d="M{at:.1f} {y}h18" stroke="{line.colour}" stroke-width="2"{dashes}/>'
        yield _text(at + 24, y + 4, 11, line.label)


def _text(x: float, y: float, size: int, text: str, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="currentColor"'
    return f'<text {place} text-anchor="{anchor}">{escape(text)}</text>'
