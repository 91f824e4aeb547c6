"""Files of one JSON object a line, appended to and never rewritten but to be cut back."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from io import FileIO, StringIO
from pathlib import Path
from typing import Any

from pylm.durable import naming, replace_text
from pylm.errors import DataError

__all__ = ["Lines", "flat", "parse", "plain", "read_lines"]


class Lines:
    """Appends records; each is in the operating system's hands before the call returns, whoever is killed after."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made with its first line."""
        self.path = path
        self._file: FileIO | None = None

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line; what is not finite becomes null, for JSON has no NaN."""
        line = (json.dumps(plain(record), ensure_ascii=False, allow_nan=False) + "\n").encode()
        if self._file is not None and os.fstat(self._file.fileno()).st_nlink == 0:
            self.close()  # somebody removed the file: the line goes where it can be found
        with naming(self.path):
            if self._file is None:
                self._file = FileIO(self.path, "a")
            while line:
                line = line[self._file.write(line) :]

    def flush(self) -> None:
        """Make what was written outlive a loss of power."""
        if self._file is not None:
            with naming(self.path):
                os.fsync(self._file.fileno())

    def cut_back(
        self,
        step: int,
        also: Callable[[Mapping[str, Any]], bool] = lambda record: False,
        gone: list[dict[str, Any]] | None = None,
    ) -> int:
        """Drop the lines past a step, those that `also` names, and a last line that a killed process left torn.

        Returns how many went; the records of whole ones are added to `gone`.
        """
        self.close()
        if not self.path.exists():
            return 0
        lines = _split(self.path)
        kept = []
        for number, line in enumerate(lines, 1):
            if number == len(lines) and not line.endswith("\n"):
                break
            record = parse(self.path, line, number)
            if record.get("step", 0) <= step and not also(record):
                kept.append(line)
            elif gone is not None:
                gone.append(record)
        if len(kept) < len(lines):
            replace_text(self.path, "".join(kept), self.path.with_name(f".{self.path.name}.partial"))
        return len(lines) - len(kept)

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file, without a last line that is still being written; none where there is no file."""
    if not path.exists():
        return []
    return [parse(path, line, number) for number, line in enumerate(_split(path), 1) if line.endswith("\n")]


def _split(path: Path) -> list[str]:
    """The lines of a file as they were written: text in them may hold what else Unicode calls the end of a line."""
    text = path.read_bytes().decode("utf-8", errors="replace")
    return StringIO(text, newline="\n").readlines()


def parse(path: Path, line: str, number: int | None = None) -> dict[str, Any]:
    """Return the record of a line, the `number`th of its file where that is known; it is an error where it has none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("step", 0), int):
        which = "a line" if number is None else f"line {number}"
        raise DataError(f"{path}: {which} is no record", "remove the line, or the file")
    return record


def plain(value: Any) -> Any:
    """Return a value as JSON has it: what is not finite becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def flat(values: Mapping[str, Any], before: str = "", between: str = ".") -> Iterator[tuple[str, Any]]:
    """Yield what lies within mappings by its whole name: `phase.data`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{key}{between}", between)
        else:
            yield f"{before}{key}", value
