"""Rows of measured comparisons: merged into results/<machine>/<subject>.json and printed as tables."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import machine


@dataclasses.dataclass(frozen=True)
class Row:
    """One claim: our figure, a peer's, their ratio (median, lowest and highest of the rounds), the bar, the verdict."""

    name: str
    ours: float | None
    peer: float | None
    peer_version: str | None
    ratio: float | None
    spread: tuple[float, float] | None
    bar: str
    verdict: str
    unit: str = "s"


class Report:
    """What this run measured, by subject."""

    def __init__(self, folder: Path, name: str | None = None, more: Mapping[str, Any] | None = None) -> None:
        """`folder` holds one folder a machine: `name`, where that is a GPU, with `more` to be said about it."""
        self.folder = folder / (name or machine.name())
        self.about = machine.describe() | dict(more or {})
        self.rows: dict[str, list[Row]] = {}

    def add(self, subject: str, row: Row) -> None:
        """Keep a row; it is on disk at once, so an interrupted run loses nothing."""
        self.rows.setdefault(subject, []).append(row)
        self._write(subject)

    def finish(self) -> Iterator[str]:
        """The tables, line by line."""
        about = self.about
        gpu = f"{about['gpu']} beside " if "gpu" in about else ""
        yield f"{gpu}{about['cpu']}, {about['cores']} cores, {' '.join(map(str, about['features']))}"
        for subject, rows in self.rows.items():
            yield ""
            yield from table(subject, rows)

    def _write(self, subject: str) -> None:
        path = self.folder / f"{subject}.json"
        kept: dict[str, Any] = {}
        if path.exists():
            kept = {row["name"]: row for row in json.loads(path.read_text())["rows"]}
        # a run of some rows (-k) renews those and leaves the others
        kept.update({row.name: dataclasses.asdict(row) for row in self.rows[subject]})
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "subject": subject,
            "machine": self.about,
            "versions": machine.versions(),
            "rows": list(kept.values()),
        }
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def table(subject: str, rows: list[Row]) -> Iterator[str]:
    """One subject as aligned text."""
    head = ("", "ours", "peer", "version", "ratio", "rounds", "bar", "")
    lines = [head, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    yield subject
    for line in lines:
        first = line[0].ljust(widths[0])
        yield (
            "  "
            + "  ".join(
                [first, *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
            ).rstrip()
        )


def cells(row: Row) -> tuple[str, ...]:
    """A row's columns as text."""
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}×"
    spread = "" if row.spread is None else f"{row.spread[0]:.2f}–{row.spread[1]:.2f}"
    peer = "" if row.peer is None else figure(row.peer, row.unit)
    ours = "" if row.ours is None else figure(row.ours, row.unit)
    return (row.name, ours, peer, row.peer_version or "", ratio, spread, row.bar, row.verdict)


def figure(value: float, unit: str) -> str:
    """Three digits that count: 812 µs, 1.24 s, 310 MB."""
    if unit == "s":
        for scale, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if value >= scale or name == "µs":
                return f"{value / scale:.3g} {name}"
    return f"{value:.4g} {unit}"
