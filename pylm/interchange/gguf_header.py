"""The header of a GGUF file, walked before anything is made of it: what it claims is there, and it is no bomb."""

from __future__ import annotations

import mmap
import re
import struct
from pathlib import Path
from typing import Any

from pylm.errors import CheckpointError
from pylm.interchange.gguf_file import need_gguf

__all__ = ["HEADER", "file_in", "opened"]

HEADER = 100_000_000  # bytes before the first tensor: the largest vocabularies take a tenth
COUNTS = {"tensors": 200_000, "fields": 10_000}
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of numbers, by the types of fields
STRING, ARRAY = 8, 9
PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


def file_in(folder: Path) -> Path | None:
    """Return the only GGUF file of a folder, or the first of those that hold one model; None where there is no such."""
    files = sorted(folder.glob("*.gguf"))
    return files[0] if len({PART.sub(r"\1", file.name) for file in files}) == 1 else None


def opened(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of a file, or of the first of several, and the tensors of all by name."""
    fields, tensors = _one(path)
    count = fields.get("split.count", 1)
    if count in (0, 1):
        return fields, tensors
    if not isinstance(count, int):
        raise CheckpointError(f"{path} is damaged: it is one of {count!r} files", "fetch it again")
    found = PART.fullmatch(path.name)
    if found is None or int(found[3]) != count or int(found[2]) != 1 or fields.get("split.no") != 0:
        raise CheckpointError(f"{path} is one of {count} files", f"name the first: NAME-00001-of-{count:05d}.gguf")
    for number in range(2, count + 1):
        other = path.with_name(f"{found[1]}-{number:05d}-of-{count:05d}.gguf")
        if not other.is_file():
            raise CheckpointError(f"{path} is one of {count} files, and {other.name} is not beside it", "fetch it too")
        tensors |= _one(other)[1]
    if (wanted := fields.get("split.tensors.count", len(tensors))) != len(tensors):
        raise CheckpointError(f"{path} and those beside it hold {len(tensors)} tensors of {wanted}", "fetch them again")
    return fields, tensors


def _one(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    _walk(path)
    gguf = need_gguf()
    try:
        reader = gguf.GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
    except Exception as error:  # a damaged header fails in any way
        raise CheckpointError(f"{path} is damaged: its header does not parse ({error})", "fetch it again") from None
    end = 0
    for tensor in sorted(tensors.values(), key=lambda each: each.data_offset):
        if tensor.data_offset < end:
            raise CheckpointError(f"{path} is damaged: tensor {tensor.name} begins within the one before it")
        end = tensor.data_offset + tensor.n_bytes
    return fields, tensors


def _walk(path: Path) -> None:
    """Raise where the file is no GGUF, or its header longer than it may be or than the file."""
    with path.open("rb") as file:
        start = file.read(24)
        if start[:4] != b"GGUF":
            raise CheckpointError(f"{path} is no GGUF file: it begins with {start[:4]!r}", "fetch it again")
        if len(start) < 24:
            raise CheckpointError(f"{path} is damaged: it ends after {len(start)} bytes", "fetch it again")
        if (version := int.from_bytes(start[4:8], "little")) not in (2, 3):
            raise CheckpointError(f"{path} is GGUF of version {version}; 2 and 3 are read")
        counts = struct.unpack_from("<QQ", start, 8)
        for claimed, (what, most) in zip(counts, COUNTS.items(), strict=True):
            if claimed > most:
                raise CheckpointError(
                    f"{path} is damaged: its header claims {claimed:,} {what}, and {most:,} are the most"
                )
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                _end_of_header(data, *counts)
            except (struct.error, KeyError):
                raise CheckpointError(f"{path} is damaged: its header does not parse", "fetch it again") from None
            except OverflowError:
                raise CheckpointError(
                    f"{path} has a header of more than {HEADER:,} bytes, which are the most"
                ) from None


def _end_of_header(data: mmap.mmap, tensors: int, fields: int) -> None:
    at = 24
    for _ in range(fields):
        at = _past_string(data, at)
        at = _past_value(data, at + 4, struct.unpack_from("<I", data, at)[0])
    for _ in range(tensors):
        at = _past_string(data, at)
        at = _within(at + 16 + 8 * struct.unpack_from("<I", data, at)[0])


def _past_string(data: mmap.mmap, at: int) -> int:
    return _within(at + 8 + int(struct.unpack_from("<Q", data, at)[0]))


def _past_value(data: mmap.mmap, at: int, kind: int) -> int:
    if kind == STRING:
        return _past_string(data, at)
    if kind != ARRAY:
        return at + SIZES[kind]
    kind, count = struct.unpack_from("<IQ", data, at)
    if kind in SIZES:
        return _within(at + 12 + SIZES[kind] * count)
    at += 12
    for _ in range(count):
        at = _past_value(data, at, kind if kind == STRING else -1)  # arrays of arrays are nobody's
    return at


def _within(at: int) -> int:
    if at > HEADER:
        raise OverflowError
    return at
