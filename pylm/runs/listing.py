"""Where runs stand, a line each: from the ends of their files, so that a thousand of them are listed at once."""

from __future__ import annotations

import json
import mmap
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pylm.runs.finding import runs_of
from pylm.runs.unsaved import is_held

__all__ = ["Standing", "last_record", "list_runs", "standing", "state_of"]

FINISHED = re.compile(rb'"finished":\s*("(?:[^"\\]|\\.)*"|null)')


@dataclass(frozen=True)
class Standing:
    """Where a run stands; what is not known is None."""

    path: Path
    state: str  # "training", "finished" or "stopped"
    why: str | None  # it finished
    step: int | None
    tokens: int | None
    seconds: float | None
    loss: float | None
    val_loss: float | None
    bits_per_byte: float | None
    written: float | None  # when, in seconds since 1970

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for programs."""
        return {**asdict(self), "path": str(self.path)}


def list_runs(folder: Path) -> list[Standing]:
    """Return where the runs of a folder stand, the one that was written to last at the end."""
    return sorted(map(standing, runs_of(folder)), key=lambda run: (run.written or 0.0, run.path))


def standing(run: Path) -> Standing:
    """Return where a run stands."""
    step, evaluated, written = _last_lines(run / "metrics.jsonl")
    newest = max((step, evaluated), key=lambda record: record.get("step") or 0)
    state, why = state_of(run)
    return Standing(
        path=run,
        state=state,
        why=why,
        step=newest.get("step"),
        tokens=newest.get("tokens"),
        seconds=newest.get("seconds"),
        loss=step.get("loss"),
        val_loss=evaluated.get("val_loss"),
        bits_per_byte=evaluated.get("bits_per_byte"),
        written=written,
    )


def state_of(run: Path) -> tuple[str, str | None]:
    """Return whether a run is in training, finished or stopped, and why it finished."""
    if is_held(run / ".lock"):
        return "training", None
    why = _finish_reason(run)
    return ("stopped", None) if why is None else ("finished", why)


def _last_lines(path: Path) -> tuple[dict[str, Any], dict[str, Any], float | None]:
    """Return the last step and the last evaluation of a file of metrics, and when it was written to."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return _last_with(text, b'"loss"'), _last_with(text, b'"val_loss"'), path.stat().st_mtime
    except (OSError, ValueError):  # there is none, or it is empty
        return {}, {}, path.stat().st_mtime if path.exists() else None


def last_record(path: Path, key: str) -> dict[str, Any]:
    """Return the last whole line with a key, from the end of a file: as soon of a long one as of a short one."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return _last_with(text, f'"{key}"'.encode())
    except (OSError, ValueError):  # there is none, or it is empty
        return {}


def _last_with(text: mmap.mmap, key: bytes) -> dict[str, Any]:
    """Return the last whole line with a key; nothing where no line has it, or it is damaged."""
    place = text.rfind(key, 0, text.rfind(b"\n") + 1)
    if place < 0:
        return {}
    try:
        record = json.loads(text[text.rfind(b"\n", 0, place) + 1 : text.find(b"\n", place)])
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _finish_reason(run: Path) -> str | None:
    """Return why a run is over, as its newest checkpoint says."""
    checkpoints = run / "checkpoints"
    try:
        last = (checkpoints / "last").read_text(encoding="utf-8").strip()
        found = FINISHED.search((checkpoints / last / "state.json").read_bytes())
        return None if found is None else json.loads(found[1])
    except (OSError, ValueError):
        return None
