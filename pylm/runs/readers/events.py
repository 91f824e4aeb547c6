"""TensorBoard's event files, read without it: TFRecord's framing with its crc32c, and few protobuf fields."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pylm.errors import DataError, UsageError
from pylm.runs.crc32c import masked, row_sums
from pylm.runs.readers.logged import Logged, Row, logged, since_first
from pylm.runs.readers.protobuf import fields, raw

__all__ = ["event_folders", "open_events", "read_scalars"]

PATTERN = "*tfevents*"
FRAME = struct.Struct("<QI")  # length and its checksum; the record and its checksum follow
WALL, STEP, SUMMARY, SESSION = 1, 2, 5, 7  # of an Event
START = (1, 1)  # of a session log: the writer began anew at this step
TAG, SIMPLE, TENSOR = 1, 2, 8  # of a Summary's value
DTYPE, CONTENT = 1, 4  # of a tensor
PLACES = {5: "<f4", 6: "<f8"}  # floats and doubles that stand in fields of their own
ROOM = 1 << 24  # bytes that are summed at a time
TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # of a tensor's content, by its dtype


def open_events(name: str, folder: Path) -> list[Logged]:
    """Return the runs below a folder: each folder with event files is one, as TensorBoard has it."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder", "tb:DIR is a folder of event files")
    folders = event_folders(folder)
    if not folders:
        raise UsageError(f"{folder} holds no event files", "TensorBoard's are named events.out.tfevents.…")
    return [
        logged(name if one == folder else f"tb:{one}", since_first(row for file in files for row in read_scalars(file)))
        for one, files in folders.items()
    ]


def event_folders(folder: Path) -> dict[Path, list[Path]]:
    """Return the folders with event files, and these in the order in which they were begun."""
    found: dict[Path, list[Path]] = {}
    for file in sorted(folder.rglob(PATTERN), key=lambda path: (path.parent, _begun(path), path.name)):
        if file.is_file():
            found.setdefault(file.parent, []).append(file)
    return found


def _begun(path: Path) -> int:
    """Return when a file was begun: events.out.tfevents.SECONDS.HOST."""
    second = path.name.partition("tfevents.")[2].partition(".")[0]
    return int(second) if second.isdecimal() else 0


def read_scalars(path: Path) -> Iterator[Row]:
    """Yield the scalars of a file; a last record that is still being written is left out."""
    for record in _records(path):
        try:
            wall, step, summaries, anew = 0.0, 0, [], False
            for kind, content in fields(record):
                if kind == WALL:
                    (wall,) = struct.unpack("<d", raw(content))
                elif kind == STEP and isinstance(content, int):
                    step = content
                elif kind == SUMMARY:
                    summaries.append(content)
                elif kind == SESSION:
                    anew = START in fields(content)
            values = dict(pair for summary in summaries for pair in _values(summary))
        except (ValueError, struct.error) as error:
            raise DataError(f"{path} is damaged: {error}", "take another copy of it") from None
        if values or anew:
            yield Row(step, wall, values, anew)


def _values(summary: int | bytes) -> Iterator[tuple[str, float]]:
    for kind, content in fields(summary):
        if kind != 1:
            continue
        tag, value = "", None
        for part, inner in fields(content):
            if part == TAG:
                tag = raw(inner).decode()
            elif part == SIMPLE:
                (value,) = struct.unpack("<f", raw(inner))
            elif part == TENSOR:
                value = _scalar(inner)
        if value is not None:
            yield tag, float(value)


def _scalar(tensor: int | bytes) -> float | None:
    """Return the number of a tensor that holds one; None of text, images and histograms."""
    dtype, found = 0, None
    for kind, content in fields(tensor):
        if kind == DTYPE and isinstance(content, int):
            dtype = content
        elif kind == CONTENT and isinstance(content, bytes) and dtype in TYPES:
            found = np.frombuffer(content, TYPES[dtype])
        elif kind in PLACES and isinstance(content, bytes):
            found = np.frombuffer(content, PLACES[kind])
    return float(found[0]) if found is not None and found.size == 1 else None


def _records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file, each against its checksum."""
    data = path.read_bytes()
    starts, sizes, at = [], [], 0
    while at + FRAME.size <= len(data):
        size, _ = FRAME.unpack_from(data, at)
        if at + FRAME.size + size + 4 > len(data):
            if size > len(data):  # no writer leaves such a length
                _check(path, data, [at], [8], [at + 8])
            break
        starts.append(at)
        sizes.append(size)
        at += FRAME.size + size + 4
    bodies = [start + FRAME.size for start in starts]
    _check(path, data, starts, [8] * len(starts), [start + 8 for start in starts])
    _check(path, data, bodies, sizes, [body + size for body, size in zip(bodies, sizes, strict=True)])
    return (data[body : body + size] for body, size in zip(bodies, sizes, strict=True))


def _check(path: Path, data: bytes, starts: list[int], sizes: list[int], sums: list[int]) -> None:
    """Refuse a file of which a part is not as its masked checksum says; parts of one length are summed together."""
    raw = np.frombuffer(data, np.uint8)
    first, sums_at, lengths = np.array(starts, np.int64), np.array(sums, np.int64), np.array(sizes, np.int64)
    for size in np.unique(lengths):
        here = np.flatnonzero(lengths == size)
        for part in np.array_split(here, len(here) * int(size) // ROOM + 1):
            found = masked(row_sums(raw[first[part, None] + np.arange(size)]))
            kept = raw[sums_at[part, None] + np.arange(4)].copy().view("<u4")[:, 0]
            if (wrong := np.flatnonzero(found != kept)).size:
                at = int(first[part][wrong[0]])
                raise DataError(f"{path} is damaged at byte {at:,}", "take another copy of it")
