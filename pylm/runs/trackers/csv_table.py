"""`csv`: metrics.jsonl as a table, a column a figure."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from pylm.runs.trackers.figures import numbers
from pylm.runs.trackers.sink import About
from pylm.runs.trackers.tail import Line, Place, Rewound

__all__ = ["CsvTable"]


class CsvTable:
    """Writes RUN/trackers/metrics.csv: a row a line; where a later line brings a new figure, a column more."""

    def __init__(self, about: About, place: Place) -> None:
        """Go on where the place says: rows past it were not yet known to be written."""
        place.id = "metrics.csv"
        self._path = about.folder / place.id
        self._columns: list[str] = []
        self._keep(place.lines)

    def send(self, lines: Sequence[Line]) -> None:
        """Add rows."""
        rows = [dict(numbers(line.record)) for line in lines if line.kind == "metrics"]
        columns = list(dict.fromkeys([*self._columns, *(key for row in rows for key in row)]))
        if columns != self._columns:
            old = self._rows() if self._path.exists() else []
            self._columns = columns
            self._write([*old, *rows])
        elif rows:
            with self._path.open("a", encoding="utf-8", newline="") as file:
                file.write(self._table(rows))

    def rewind(self, to: Rewound) -> None:
        """Take back the rows of the lines that were."""
        self._keep(to.lines)

    def finish(self, how: str) -> None:
        """Do nothing more: every row is written."""

    def _keep(self, count: int) -> None:
        """Keep so many rows."""
        if self._path.exists():
            rows = self._rows()
            self._write(rows[:count])

    def _rows(self) -> list[dict[str, Any]]:
        with self._path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            self._columns = list(reader.fieldnames or ())
            return list(reader)

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the table whole."""
        header = StringIO()
        csv.writer(header, lineterminator="\n").writerow(self._columns)
        partial = self._path.with_name(f".{self._path.name}.partial")
        partial.write_text(header.getvalue() + self._table(rows), encoding="utf-8")
        os.replace(partial, self._path)

    def _table(self, rows: Sequence[Mapping[str, Any]]) -> str:
        text = StringIO()
        csv.DictWriter(text, self._columns, lineterminator="\n").writerows(rows)
        return text.getvalue()
