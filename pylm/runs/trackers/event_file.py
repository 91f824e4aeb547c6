"""TensorBoard's files of events, written without its package: records with their checksums, each a small protobuf."""

from __future__ import annotations

import os
import platform
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from pylm.runs.crc32c import crc32c, masked

__all__ = ["EventFile"]

STRING = 7  # of TensorFlow's types
START = 1  # the status of a session that begins: what an earlier one has from its step on is of no account


class EventFile:
    """A new file of events in a folder, added to."""

    def __init__(self, folder: Path) -> None:
        """Begin it with the version that readers ask for, under a name that sorts behind those of before."""
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{platform.node()}.{os.getpid()}"
        self._file = (folder / name).open("xb")
        self._write(_bytes(3, b"brain.Event:2"), step=0)

    def restart(self, step: int) -> None:
        """Say that what was written of this step and later ones before holds no more."""
        self._write(_bytes(7, _whole(1, START)), step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add numbers of a step by name."""
        summary = b"".join(_bytes(1, _bytes(1, name.encode()) + _float(2, value)) for name, value in values.items())
        self._write(_bytes(5, summary), step)

    def text(self, step: int, name: str, text: str) -> None:
        """Add a text."""
        metadata = _bytes(9, _bytes(1, _bytes(1, b"text")))  # of the plugin that shows it
        tensor = _bytes(8, _whole(1, STRING) + _bytes(2, _bytes(2, _whole(1, 1))) + _bytes(8, text.encode()))
        self._write(_bytes(5, _bytes(1, _bytes(1, name.encode()) + metadata + tensor)), step)

    def flush(self) -> None:
        """Hand what was added to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def _write(self, content: bytes, step: int) -> None:
        """Write an event: the wall clock, the step and what it holds, in its frame."""
        event = struct.pack("<Bd", 1 << 3 | 1, time.time()) + _whole(2, step) + content
        length = struct.pack("<Q", len(event))
        frame = (length, struct.pack("<I", masked(crc32c(length))), event, struct.pack("<I", masked(crc32c(event))))
        self._file.write(b"".join(frame))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _whole(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content
