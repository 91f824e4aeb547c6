"""The rows of what holds examples, each with its place as an error names it: files, the Hub, the catalogue, Python."""

from __future__ import annotations

import csv
import glob
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.data.getting.parquet_rows import rows_of_groups
from pylm.data.half_characters import refuse_half_characters
from pylm.data.streaming.elsewhere import files_of
from pylm.data.streaming.files import Files, Reading
from pylm.data.streaming.grammar import GLOB, hub_name, is_path, kind_of, nearest
from pylm.errors import DataError, PylmError, UsageError

if TYPE_CHECKING:
    from pylm.data.fetching import RemoteFile

__all__ = ["rows_of"]

Row = Mapping[str, Any]
Placed = tuple[str, Row]

LINES, ARRAYS, TABLES = (".jsonl", ".ndjson"), (".json",), {".csv": ",", ".tsv": "\t"}
PARQUET = ".parquet"
KNOWN = (*LINES, *ARRAYS, *TABLES, PARQUET)
# parquet is read by one column of text and brings the others: what examples have, and what often stands beside them
LONGEST_FIELD = 1 << 30  # characters of a field of a csv
COLUMNS = ("completion", "output", "prompt", "instruction", "text", "source", "id", "prompt_id", "category", "label")


def rows_of(dataset: Any) -> Iterator[Placed]:
    """Yield the rows of a dataset.

    Args:
        dataset: A file, a folder or a glob of jsonl, json, csv, tsv or parquet; a URL, `hub:ORG/NAME` or a name of the
            catalogue; an iterable of rows.
    """
    if not isinstance(dataset, str | os.PathLike):
        return _of_items(dataset)
    name = os.fspath(dataset)
    kind = kind_of(name)
    if kind in ("stdin", "text"):
        raise UsageError(f"{name} holds no rows", f"name a file, which ends in {', '.join(KNOWN)}")
    return _of_paths(name) if kind == "path" else _of_elsewhere(name, kind)


def _of_items(items: Iterable[Any]) -> Iterator[Placed]:
    if not hasattr(items, "__iter__") or isinstance(items, bytes):
        raise UsageError(f"a {type(items).__name__} holds no rows", "give a path, a name, or an iterable of rows")
    for number, item in enumerate(items):
        place = f"item {number} of this {type(items).__name__}"
        if not isinstance(item, Mapping):
            raise DataError(f"{place} is no row but {type(item).__name__}", 'give rows: {"prompt": …, "completion": …}')
        yield place, item


def _of_paths(name: str) -> Iterator[Placed]:
    path = Path(name)
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file() and _suffix(one.name) is not None)
        if not files:
            raise DataError(f"{name} has no file of rows in it", f"such files end in {', '.join(KNOWN)}")
    elif path.is_file():
        files = [path]
    else:
        files = sorted(map(Path, glob.glob(name, recursive=True))) if set(name) & set(GLOB) else []
        if not files:
            known = None if is_path(name) else nearest(name)
            raise DataError(f"{name}: there is no such file", known or "name a file of examples, or a dataset")
    for file in files:
        suffix = _known_suffix(file.name, str(file))
        if suffix == PARQUET:
            yield from _of_parquet(str(file), str(file), None)
        else:
            yield from _of_text(_blocks(file), str(file), suffix)


def _of_elsewhere(name: str, kind: str) -> Iterator[Placed]:
    column = hub_name(name).column if kind == "hub" else None
    if kind == "data":
        from pylm.data.catalogue import entry

        one = entry(name)
        if one.tokens is not None:
            raise UsageError(f"{name} is a slice by tokens of text, and examples are read whole", f"name {one.name}")
        column = one.reading.get("column")
    for file in files_of(name, Reading()):
        suffix = _known_suffix(file.path, file.name)
        if suffix == PARQUET:
            yield from _of_parquet(file, file.name, column)
        else:
            yield from _of_text(file.stream(), file.name, suffix)


def _suffix(name: str) -> str | None:
    plain = name.lower().removesuffix(".gz")
    return next((suffix for suffix in KNOWN if plain.endswith(suffix)), None)


def _known_suffix(name: str, place: str) -> str:
    suffix = _suffix(name)
    if suffix is None:
        raise DataError(f"{place} is no file of rows", f"such a file ends in {', '.join(KNOWN)}, or .gz after it")
    return suffix


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                yield block
    except OSError as error:
        raise DataError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None


def _unpacked(blocks: Iterator[bytes], place: str) -> Iterator[bytes]:
    """Yield the content of a file, unpacked where it is gzip's."""
    first = next(blocks, b"")
    if first[:2] != b"\x1f\x8b":
        yield first
        yield from blocks
        return
    packed = zlib.decompressobj(wbits=31)
    try:
        for block in chain([first], blocks):
            while block:
                yield packed.decompress(block)
                block = packed.unused_data
                if packed.eof and block:  # one gzip file after another
                    packed = zlib.decompressobj(wbits=31)
        if not packed.eof:
            raise EOFError("it ends within")
    except (zlib.error, EOFError) as error:
        raise DataError(f"{place} is damaged, as gzip says: {error}", "copy it again") from None


def _of_text(packed: Iterator[bytes], place: str, suffix: str) -> Iterator[Placed]:
    blocks = _unpacked(packed, place)
    if suffix in TABLES:
        yield from _of_table(blocks, place, TABLES[suffix])
    elif suffix in ARRAYS:
        yield from _of_array(blocks, place)
    else:
        for number, line in enumerate(_lines(blocks), 1):
            if line.strip():
                yield f"{place} line {number}", _object(line, f"{place} line {number}")


def _of_table(blocks: Iterator[bytes], place: str, delimiter: str) -> Iterator[Placed]:
    """Yield the rows of a csv by the names of its first line; one of another number of fields is refused."""
    csv.field_size_limit(LONGEST_FIELD)
    lines = (_decoded(line, f"{place} line {number}") + "\n" for number, line in enumerate(_lines(blocks), 1))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names: list[str] | None = None
    try:
        for fields in reader:
            row = f"{place} line {reader.line_num}"
            if names is None:
                names = [name.removeprefix("\ufeff") for name in fields]
            elif fields and len(fields) != len(names):
                raise DataError(
                    f"{row} has {len(fields)} fields, and the first line names {len(names)}",
                    'a field with a comma stands in quotes: "a, b"',
                )
            elif fields:
                yield row, dict(zip(names, fields, strict=True))
    except csv.Error as error:
        raise DataError(f"{place} line {reader.line_num} is no csv: {error}", "mend it, or leave it out") from None


def _of_array(blocks: Iterator[bytes], place: str) -> Iterator[Placed]:
    content = _parsed(b"".join(blocks), place)
    if not isinstance(content, list):
        raise DataError(f"{place} is no list of rows", "write [{…}, {…}], or one row a line in a .jsonl")
    for number, row in enumerate(content):
        if not isinstance(row, dict):
            raise DataError(f"item {number} of {place} is no JSON object", "each item is one example: {…}")
        yield f"{place} item {number}", row


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _object(line: bytes, place: str) -> Row:
    row = _parsed(line, place)
    if not isinstance(row, dict):
        raise DataError(f"{place} is no JSON object", "each line is one example: {…}")
    return row


def _parsed(content: bytes, place: str) -> Any:
    text = _decoded(content, place).removeprefix("\ufeff")
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():
            refuse_half_characters(value, place)
    except RecursionError:
        raise DataError(f"{place} is nested too deeply", "give it fewer levels") from None
    except ValueError as error:
        raise DataError(f"{place} is no JSON: {error}", "mend it, or leave it out") from None
    return value


def _decoded(content: bytes, place: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{place} is no UTF-8: byte {error.start}", "save it as UTF-8") from None


def _of_parquet(file: str | RemoteFile, place: str, column: str | None) -> Iterator[Placed]:
    """Yield the rows of a parquet file, which is read by the first of the columns of text that may be there."""
    refused: PylmError | None = None
    for name in (column,) if column is not None else COLUMNS:
        documents = Files((file,), Reading(column=name)).cursor()
        try:
            first = next(documents, None)
        except UsageError as error:
            refused = refused or error
            continue
        number = 0
        for number, document in enumerate([] if first is None else chain([first], documents), 1):
            own = {"id": document.id} if document.id is not None and name != "id" else {}
            yield f"{place} row {number}", {name: document.text, **own, **document.meta}
        if missing := _rows(file) - number:
            raise DataError(f"{place} has {missing:,} rows whose {name!r} is null", "fill it, or leave these rows out")
        return
    assert refused is not None
    has = (refused.hint or "").rpartition("it has: ")[2]
    raise DataError(
        f"{place} has no column of text that examples have" + (f", but {has}" if has else ""),
        f"parquet is read by one of {', '.join(COLUMNS)}",
    )


def _rows(file: str | RemoteFile) -> int:
    """Return how many rows a parquet file has: its reader leaves those out whose text is null."""
    if not isinstance(file, str):
        assert file.size is not None
        return sum(rows_of_groups(file.size, file.read))
    with open(file, "rb") as local:

        def read(start: int, length: int) -> bytes:
            local.seek(start)
            return local.read(length)

        return sum(rows_of_groups(os.path.getsize(file), read))
