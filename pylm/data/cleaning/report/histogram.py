"""Where the bars of a histogram stand, and its threshold among them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pylm.data.cleaning.report.figures import brief

__all__ = ["HEIGHT", "WIDTH", "Bar", "Histogram", "histogram"]

WIDTH, HEIGHT = 320.0, 96.0  # of the bars; what is written stands below
LABELS = 4  # spaces between edges that are written


@dataclass(frozen=True)
class Bar:
    """One bar: what was kept from the ground up, and what was removed on top of it."""

    x: str
    width: str
    kept: str
    kept_y: str
    removed: str
    removed_y: str


@dataclass(frozen=True)
class Histogram:
    """A measure's bars, its threshold (None where none is drawn) and the edges below them."""

    bars: tuple[Bar, ...]
    threshold: str | None
    labels: tuple[tuple[str, str, str], ...]  # where, how it is aligned, text
    documents: int
    removed: int


def histogram(measure: dict[str, Any]) -> Histogram:
    """Return the picture of a measure. Bars are equally wide, whatever their edges are."""
    edges, counts, removed = measure["edges"], measure["counts"], measure["removed"]
    if not counts or len(edges) != len(counts) + 1 or len(removed) != len(counts):
        raise ValueError(f"edges, counts and removed of {measure['measure']!r} do not belong together")
    wide, highest = WIDTH / len(counts), max(*counts, 1)
    heights = zip(counts, removed, strict=True)
    return Histogram(
        tuple(_bar(place * wide, wide, all_, gone, highest) for place, (all_, gone) in enumerate(heights)),
        _threshold(measure.get("threshold"), edges, wide),
        tuple(_labels(edges, wide)),
        sum(counts),
        sum(removed),
    )


def _bar(x: float, width: float, all_: int, gone: int, highest: int) -> Bar:
    kept, removed = _height(all_ - gone, highest), _height(gone, highest)
    gap = min(1.0, width / 6)
    return Bar(
        _short(x + gap / 2),
        _short(width - gap),
        _short(kept),
        _short(HEIGHT - kept),
        _short(removed),
        _short(HEIGHT - kept - removed),
    )


def _height(documents: int, highest: int) -> float:
    """Return how high documents stand: what is there can be seen."""
    return max((HEIGHT - 4) * documents / highest, 1.2) if documents > 0 else 0.0


def _threshold(at: Any, edges: Sequence[float], wide: float) -> str | None:
    if isinstance(at, bool) or not isinstance(at, int | float) or not edges[0] <= at <= edges[-1]:
        return None
    place = min(bisect_right(edges, at) - 1, len(edges) - 2)
    inside = (at - edges[place]) / (edges[place + 1] - edges[place])
    return _short(min((place + inside) * wide, WIDTH))


def _labels(edges: Sequence[float], wide: float) -> list[tuple[str, str, str]]:
    last = len(edges) - 1
    places = sorted({round(last * part / LABELS) for part in range(LABELS + 1)})
    anchors = {0: "start", last: "end"}
    return [(_short(place * wide), anchors.get(place, "middle"), brief(edges[place])) for place in places]


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
