"""Runs by what people type, those of other tools too: `wandb:ID`, `tb:DIR`, `trackio:PROJECT`, `csv:FILE`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pylm.errors import UsageError, did_you_mean
from pylm.runs.finding import RUNS, find_run, find_runs, is_run
from pylm.runs.readers.logged import Logged

__all__ = ["READERS", "names_of", "open_runs"]


def _wandb(name: str, rest: str, x: str | None) -> list[Path | Logged]:
    from pylm.runs.readers.wandb_run import open_wandb

    return [open_wandb(name, rest)]


def _events(name: str, rest: str, x: str | None) -> Sequence[Path | Logged]:
    from pylm.runs.readers.events import open_events

    return open_events(name, Path(rest))


def _trackio(name: str, rest: str, x: str | None) -> Sequence[Path | Logged]:
    from pylm.runs.readers.trackio import open_trackio

    return open_trackio(name, rest)


def _csv(name: str, rest: str, x: str | None) -> list[Path | Logged]:
    from pylm.runs.readers.table import open_csv

    return [open_csv(name, Path(rest), x)]


READERS: dict[str, Callable[[str, str, str | None], Sequence[Path | Logged]]] = {
    "wandb": _wandb,
    "tb": _events,
    "trackio": _trackio,
    "csv": _csv,
}


def open_runs(names: Sequence[str | Path], x: str | None = None) -> list[Path | Logged]:
    """Return the runs that were named, each once; the one that was written to last where none was.

    Args:
        names: Folders or names of runs of pylm, and those of other tools, of which one name may be several runs.
        x: The column of steps, for tables.
    """
    if not names:
        return list(find_runs(names))
    found: dict[Path, Path | Logged] = {}
    for name in dict.fromkeys(map(str, names)):
        for one in _open(name, x):
            found.setdefault(one if isinstance(one, Path) else one.path, one)
    return list(found.values())


def names_of(runs: Sequence[str], ids: Sequence[str]) -> list[str]:
    """Return names of runs where some were named by ids of W&B, `A,B` or one by one: all of them are then.

    A run of that name here is meant all the same: a path wins over an id.
    """
    words = [*ids, *runs]
    if not ids:
        return words
    named = [word.strip() for one in words for word in one.split(",") if word.strip()]
    return [word if ":" in word or _is_here(word) else f"wandb:{word}" for word in named]


def _is_here(word: str) -> bool:
    return any(is_run(place) for place in (Path(word), RUNS / word))


def _open(name: str, x: str | None) -> Sequence[Path | Logged]:
    tool, colon, rest = name.partition(":")
    if not colon and name.lower().endswith(".csv") and Path(name).is_file():
        tool, colon, rest = "csv", ":", name
    if not colon or "/" in tool or _is_here(name):  # a path wins over another tool's name
        return [find_run(name)]
    if tool not in READERS:
        known = f"other tools' runs are {', '.join(f'{each}:…' for each in READERS)}"
        nearest = did_you_mean(tool, READERS)
        raise UsageError(f"there is no run {name}", f"{known}; {nearest}" if nearest else known)
    if not rest:
        raise UsageError(f"{name} names nothing", f"such as {EXAMPLES[tool]}")
    return READERS[tool](name, rest, x)


EXAMPLES = {"wandb": "wandb:ID", "tb": "tb:logs", "trackio": "trackio:PROJECT", "csv": "csv:losses.csv"}
