"""Reasons against sources or languages, as many as a page has room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Crossed", "crossed"]

MOST = 7  # columns; the documents of the others stand together in one more


@dataclass(frozen=True)
class Crossed:
    """A table of how many documents each reason removed of each source or language."""

    columns: tuple[tuple[str, int], ...]  # name and documents
    rows: tuple[tuple[str, tuple[int, ...]], ...]  # reason and what it removed of each column
    others: int  # how many are in the last column together; 0 where each has one of its own


def crossed(parts: Sequence[Mapping[str, Any]], name: str, reasons: Sequence[Mapping[str, Any]], key: str) -> Crossed:
    """Return the table of `parts`, called by their `name`, whose documents lie under a reason's `key`."""
    largest = sorted(parts, key=lambda part: (-part["documents"], part[name]))
    own = largest if len(largest) <= MOST + 1 else largest[:MOST]
    rest = largest[len(own) :]
    columns = [(part[name], part["documents"]) for part in own]
    if rest:
        columns.append((f"{len(rest)} others", sum(part["documents"] for part in rest)))
    rows = []
    for reason in reasons:
        removed = reason.get(key) or {}
        cells = [removed.get(part[name], 0) for part in own]
        if rest:
            cells.append(sum(removed.get(part[name], 0) for part in rest))
        if any(cells):
            rows.append((reason["reason"], tuple(cells)))
    return Crossed(tuple(columns), tuple(rows), len(rest))
