"""What a run has written since somebody last looked: whole lines only, and what a resume took back is known."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pylm.runs.lines import parse, read_lines

__all__ = ["Line", "Place", "Rewound", "Tail"]

FILES = ("metrics.jsonl", "incidents.jsonl", "samples.jsonl")
READ = 1 << 17  # bytes at a time of each file: some hundred lines, which a slow service takes in seconds


class Line(NamedTuple):
    """A record, and the file that it stands in: metrics, incidents or samples."""

    kind: str
    record: dict[str, Any]


class Rewound(NamedTuple):
    """The run went on from an earlier step: so many lines of metrics.jsonl stand, and others follow."""

    step: int
    lines: int


@dataclass
class Place:
    """How far a tracker has come: bytes of each file and lines of metrics that it has, and what it calls the run."""

    id: str | None = None
    lines: int = 0
    resumes: int | None = None  # of the run, that are known; None before the first look
    offset: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FILES, 0))

    @classmethod
    def read(cls, path: Path) -> Place:
        """Return what was kept; the beginning where nothing was, or a power loss left half of it."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, path: Path) -> None:
        """Keep it, not flushed to the disk: that would be felt by whoever trains."""
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
        os.replace(partial, path)


class Tail:
    """Reads on in a run's files from a place."""

    def __init__(self, run: Path, place: Place) -> None:
        """Begin at the place, which moves as lines are read."""
        self._run, self._place = run, place
        self._shorter, self._resumes = False, -1
        if place.resumes is None:
            place.resumes = len(read_lines(run / "resumes.jsonl"))

    def rewound(self) -> Rewound | None:
        """Return what a resume since the last look took back of what was read; None where nothing was."""
        place, new = self._place, self._new_resumes()
        step = min((int(one["step"]) for one in new), default=0)
        kept = {name: min((one.get("kept", {}).get(name, 0) for one in new), default=place.offset[name])
                for name in FILES}  # fmt: skip
        if not new and self._was_replaced():
            step, kept = 0, dict.fromkeys(FILES, 0)
        back = kept["metrics.jsonl"] < place.offset["metrics.jsonl"]
        place.offset = {name: min(kept[name], place.offset[name]) for name in FILES}
        if not back:
            return None
        place.lines = self._count_lines()
        return Rewound(step, place.lines)

    def read(self) -> list[Line]:
        """Return the lines that were added, some of them where they are many; none where there are none."""
        read: list[Line] = []
        for name in FILES:
            content = self._content(name)
            end = content.rfind(b"\n") + 1  # a line that is being written is left for the next time
            texts = content[:end].decode("utf-8", errors="replace").split("\n")[:-1]
            read += [Line(name.partition(".")[0], parse(self._run / name, text)) for text in texts]
            self._place.offset[name] += end
            if name == "metrics.jsonl":
                self._place.lines += len(texts)
        return read

    def _was_replaced(self) -> bool:
        """Say whether the lines are fewer than were read, twice in a row: a resume says so a moment after it cuts."""
        shorter = self._size("metrics.jsonl") < self._place.offset["metrics.jsonl"]
        replaced, self._shorter = shorter and self._shorter, shorter
        return replaced

    def _new_resumes(self) -> list[dict[str, Any]]:
        """Return where the run was resumed since the last look."""
        size = self._size("resumes.jsonl")
        if size == self._resumes:
            return []
        self._resumes, resumes = size, read_lines(self._run / "resumes.jsonl")
        new, self._place.resumes = resumes[self._place.resumes :], len(resumes)
        return new

    def _size(self, name: str) -> int:
        try:
            return (self._run / name).stat().st_size
        except FileNotFoundError:
            return 0

    def _content(self, name: str) -> bytes:
        try:
            with open(self._run / name, "rb") as file:
                file.seek(self._place.offset[name])
                content = file.read(READ)
                while len(content) >= READ and b"\n" not in content and (more := file.read(READ)):
                    content += more
                return content
        except FileNotFoundError:
            return b""

    def _count_lines(self) -> int:
        with open(self._run / "metrics.jsonl", "rb") as file:
            return file.read(self._place.offset["metrics.jsonl"]).count(b"\n")
