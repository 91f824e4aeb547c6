"""W&B's offline file, read without W&B: a log in leveldb's framing whose records are protocol buffers."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pylm.errors import DataError
from pylm.runs.lines import flat
from pylm.runs.readers.logged import STEPS, Logged, Row, logged, numbers, step_of
from pylm.runs.readers.protobuf import fields, raw

__all__ = ["read_offline", "rows_of"]

HEADER = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
BLOCK = 32 << 10
FRAME = struct.Struct("<IHB")  # checksum, length, kind
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
HISTORY, CONFIG, METRIC, RUN = 2, 5, 12, 17  # of a Record; a RunRecord has its ConfigRecord as its fourth
KEY, NESTED, VALUE = 1, 2, 16  # of an item of history and of configuration
UPDATE, REMOVE = 1, 2
OWN = ("_step", "_timestamp", "_runtime", "_wandb")


def read_offline(name: str, paths: list[Path]) -> Logged:
    """Return the run of some files, the segments of a resumed one in their order."""
    rows: list[Row] = []
    config: dict[str, Any] = {}
    for path in paths:
        history = []
        metric = None
        try:
            for record in _records(path):
                for kind, content in fields(record):
                    if kind == HISTORY:
                        history.append(_history(content))
                    elif kind == CONFIG:
                        _configure(config, content)
                    elif kind == METRIC:
                        metric = metric or _step_metric(content)
                    elif kind == RUN:
                        for part, inner in fields(content):
                            if part == 4:
                                _configure(config, inner)
        except ValueError as error:
            raise _damaged(path, str(error)) from None
        rows += rows_of(history, metric)
    return logged(name, rows, dict(flat(config)))


def rows_of(history: Iterator[dict[str, Any]] | list[dict[str, Any]], metric: str | None = None) -> Iterator[Row]:
    """Yield rows of W&B's history, by the step that its metrics are drawn over, or by W&B's own count."""
    named, began = ((metric,) if metric else ()) + STEPS, None
    for values in history:
        if (now := values.get("_timestamp")) is not None and began is None:
            began = now
        step = step_of(values, named)
        if step is not None:
            seconds = values.get("_runtime", None if now is None else now - began)
            yield Row(step, None if seconds is None else float(seconds), numbers(values, but={*named, *OWN}))


def _records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file; a last one that is still being written is left out."""
    data = path.read_bytes()
    if not data.startswith(HEADER):
        raise DataError(f"{path} is no offline file of W&B", "such as wandb/offline-run-…/run-ID.wandb")
    at, parts = len(HEADER), b""
    while at + FRAME.size <= len(data):
        left = BLOCK - at % BLOCK
        if left < FRAME.size:
            at += left
            continue
        checksum, size, kind = FRAME.unpack_from(data, at)
        body = data[at + FRAME.size : at + FRAME.size + size]
        if len(body) < size:
            return
        if kind not in (FULL, FIRST, MIDDLE, LAST) or zlib.crc32(body, zlib.crc32(bytes([kind]))) != checksum:
            raise _damaged(path, f"its record at byte {at:,} is not what was written")
        parts = body if kind in (FULL, FIRST) else parts + body
        if kind in (FULL, LAST):
            yield parts
        at += FRAME.size + size


def _history(content: int | bytes) -> dict[str, Any]:
    """Return the values of a record of history, with W&B's own step."""
    values: dict[str, Any] = {}
    for kind, inner in fields(content):
        if kind == 1:
            key, value = _item(inner)
            values[key] = value
        elif kind == 2:
            values.setdefault("_step", next((number for part, number in fields(inner) if part == 1), 0))
    return values


def _item(content: int | bytes) -> tuple[str, Any]:
    """Return the name and the value of an item."""
    parts, value = [], None
    for kind, inner in fields(content):
        if kind in (KEY, NESTED) and inner:
            parts.append(raw(inner).decode())
        elif kind == VALUE:
            value = json.loads(raw(inner))
    return ".".join(parts), value


def _configure(config: dict[str, Any], content: int | bytes) -> None:
    for kind, inner in fields(content):
        key, value = _item(inner)
        if kind == UPDATE and key.partition(".")[0] not in OWN:
            config[key] = value
        elif kind == REMOVE:
            config.pop(key, None)


def _step_metric(content: int | bytes) -> str | None:
    """Return the metric that others are drawn over, as define_metric was told."""
    return next((raw(inner).decode() for kind, inner in fields(content) if kind == 4), None)


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is damaged: {why}", "take another copy of it")
