"""trackio's projects, read without it: a project is an SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from pylm.errors import DataError, UsageError, did_you_mean
from pylm.runs.lines import flat
from pylm.runs.readers.logged import Logged, Row, logged, numbers, since_first, step_of

__all__ = ["open_trackio"]


def open_trackio(name: str, rest: str) -> list[Logged]:
    """Return the runs of a project, or the one of `PROJECT/RUN`."""
    path, run = _file(rest)
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            found, configs = _rows(base), _configs(base)
    except sqlite3.Error as error:
        raise DataError(f"{path} is no file of trackio: {error}", "a project is PROJECT.db in TRACKIO_DIR") from None
    if run and run not in found:
        raise UsageError(f"{path.stem} has no run {run}", did_you_mean(run, found) or f"it has {', '.join(found)}")
    if not found:
        raise DataError(f"{path.stem} holds no run yet", "a run writes its first line with its first steps")
    names = [run] if run else list(found)
    return [logged(f"trackio:{path.stem}/{one}", since_first(found[one]), configs.get(one)) for one in names]


def _file(rest: str) -> tuple[Path, str]:
    """Return the file of a project and the run that was named in it, or an empty name."""
    folder = Path(
        os.environ.get("TRACKIO_DIR")
        or Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface", "trackio")
    )
    if Path(rest).suffix == ".db" and Path(rest).is_file():
        return Path(rest), ""
    project, _, run = rest.partition("/")
    path = folder / f"{project}.db"
    if not path.is_file():
        there = sorted(one.stem for one in folder.glob("*.db"))
        listed = f"there are {', '.join(there)}" if there else "TRACKIO_DIR says where they lie"
        raise UsageError(f"there is no project {project} in {folder}", did_you_mean(project, there) or listed)
    return path, run


def _rows(base: sqlite3.Connection) -> dict[str, list[Row]]:
    """Return the rows of each run, in the order in which they were written; two of one name have their ids too."""
    own_id = "run_id" if "run_id" in {row[1] for row in base.execute("PRAGMA table_info(metrics)")} else "run_name"
    names = dict(base.execute(f"SELECT {own_id}, run_name FROM metrics GROUP BY {own_id} ORDER BY MIN(id)").fetchall())
    twice = [name for name, many in Counter(names.values()).items() if many > 1]
    found: dict[str, list[Row]] = {}
    for own, when, step, text in base.execute(f"SELECT {own_id}, timestamp, step, metrics FROM metrics ORDER BY id"):
        run = f"{names[own]}-{own[:8]}" if names[own] in twice else names[own]
        values = _values(text)
        logged_step = step_of(values)
        place = int(step) if logged_step is None else logged_step
        found.setdefault(run, []).append(Row(place, _seconds(when), numbers(values)))
    return found


def _configs(base: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    try:
        kept = base.execute("SELECT run_name, config FROM configs").fetchall()
    except sqlite3.OperationalError:  # before it kept any
        return {}
    return {run: {key: one for key, one in flat(_values(text)) if not key.startswith("_")} for run, text in kept}


def _values(text: str | bytes) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise sqlite3.DataError("a line of it is no JSON object")
    return values


def _seconds(when: str) -> float | None:
    try:
        return datetime.fromisoformat(when.replace("Z", "+00:00")).timestamp()
    except (AttributeError, ValueError):
        return None
