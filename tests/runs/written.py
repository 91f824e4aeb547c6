"""Files as W&B, TensorBoard and trackio write them, by writers so plain that they can be read beside the formats."""

from __future__ import annotations

import json
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def number(field: int, value: int) -> bytes:
    """A field of a message that is a varint."""
    return varint(field << 3) + varint(value)


def content(field: int, value: bytes | str) -> bytes:
    """A field of a message that is bytes, text or a message."""
    raw = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def crc32c(data: bytes) -> int:
    """Bit by bit, as RFC 3720 has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def tfrecord(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    return length + masked(length) + record + masked(record)


def event(step: int, wall: float, tag: str, value: float | bytes) -> bytes:
    """An Event with one scalar; bytes are a tensor's message."""
    what = content(8, value) if isinstance(value, bytes) else varint(2 << 3 | 5) + struct.pack("<f", value)
    at = varint(1 << 3 | 1) + struct.pack("<d", wall) + number(2, step)
    return at + content(5, content(1, content(1, tag) + what))


def events_file(path: Path, events: Iterable[bytes]) -> Path:
    """An event file: its version first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    version = varint(1 << 3 | 1) + struct.pack("<d", 0.0) + content(3, "brain.Event:2")
    path.write_bytes(b"".join(map(tfrecord, [version, *events])))
    return path


def wandb_file(path: Path, records: Iterable[bytes]) -> Path:
    """An offline file of W&B: blocks of 32 KiB, each part of a record with length, kind and checksum."""
    path.parent.mkdir(parents=True, exist_ok=True)
    out = bytearray(struct.pack("<4sHB", b":W&B", 0xBEE1, 0))
    for record in records:
        parts, rest = [], record
        place = len(out)
        while True:
            left = 32768 - place % 32768
            if left < 7:
                parts.append(None)
                place += left
                continue
            parts.append(rest[: left - 7])
            place += 7 + len(parts[-1])
            rest = rest[left - 7 :]
            if not rest:
                break
        bodies = [part for part in parts if part is not None]
        written = 0
        for part in parts:
            if part is None:
                out += bytes(32768 - len(out) % 32768)
                continue
            kind = 1 if len(bodies) == 1 else 2 if written == 0 else 4 if written == len(bodies) - 1 else 3
            out += struct.pack("<IHB", zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            written += 1
    path.write_bytes(out)
    return path


def item(key: str, value: Any, *, nested: bool = False) -> bytes:
    name = b"".join(content(2, part) for part in key.split("/")) if nested else content(1, key)
    return name + content(16, json.dumps(value))


def history(step: int, values: Mapping[str, Any], *, nested: bool = False) -> bytes:
    """A Record of W&B with a line of history."""
    items = b"".join(content(1, item(key, value, nested=nested)) for key, value in values.items())
    return number(1, step) + content(2, items + content(2, number(1, step)))


def wandb_run(run: str, config: Mapping[str, Any]) -> bytes:
    """A Record of W&B with the run and its configuration."""
    updates = b"".join(content(1, item(key, value)) for key, value in config.items())
    return content(17, content(1, run) + content(3, "project") + content(4, updates))


def trackio_file(path: Path, rows: Iterable[tuple[str, int, Mapping[str, Any]]], configs: Mapping[str, Any]) -> Path:
    """A project of trackio; `name#2` is another run of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as base:
        base.execute(
            "CREATE TABLE metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL, "
            "run_id TEXT NOT NULL, run_name TEXT NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT NULL)"
        )
        base.execute("CREATE TABLE configs (id INTEGER PRIMARY KEY, run_name TEXT, config TEXT, created_at TEXT)")
        for run, step, values in rows:
            when = f"2026-01-01T00:{step // 60:02}:{step % 60:02}+00:00"
            base.execute(
                "INSERT INTO metrics (timestamp, run_id, run_name, step, metrics) VALUES (?, ?, ?, ?, ?)",
                (when, f"id-of-{run}", run.partition("#")[0], step, json.dumps(values)),
            )
        for run, config in configs.items():
            base.execute("INSERT INTO configs (run_name, config) VALUES (?, ?)", (run, json.dumps(config)))
    base.close()
    return path
