"""safetensors files from and to plain buffers: no framework, bfloat16 included, and nothing in a file is trusted.

The format (https://github.com/huggingface/safetensors): the header's length as uint64, the header as JSON
`{name: {dtype, shape, data_offsets}}`, then the tensors' bytes without gaps.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pylm.durable import naming
from pylm.errors import CheckpointError

__all__ = ["ITEM_BYTES", "Streamed", "Tensor", "damaged", "read_described", "read_tensors", "write_tensors"]

# safetensors' names of the types that a checkpoint holds
ITEM_BYTES = {
    "F64": 8, "I64": 8, "U64": 8,
    "F32": 4, "I32": 4, "U32": 4,
    "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
HEADER_LIMIT = 100_000_000  # safetensors' own
TENSORS_LIMIT = 200_000  # the largest models there are have half as many, over all their files
ALIGNMENT = 64  # tensors start where vector loads from a mapped file are aligned


@runtime_checkable
class Streamed(Protocol):
    """A tensor that is made while it is written, a part at a time."""

    @property
    def dtype(self) -> str:
        """Return the name of its type: F32, BF16, …."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its sizes."""
        ...

    def parts(self) -> Iterable[Any]:
        """Yield its bytes, in buffers that follow each other."""
        ...


@dataclass(frozen=True)
class Tensor:
    """A tensor as the file holds it: little-endian, row-major."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    @classmethod
    def of(cls, dtype: str, shape: tuple[int, ...], buffer: Any) -> Tensor:
        """Wrap any object with a contiguous buffer, its bytes taken as `dtype`."""
        data = memoryview(buffer).cast("B")
        if len(data) != ITEM_BYTES[dtype] * math.prod(shape):
            raise ValueError(f"{len(data)} bytes are no {dtype} tensor of shape {list(shape)}")
        return cls(dtype, tuple(shape), data)


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor | Streamed],
    metadata: Mapping[str, str] | None = None,
    hashed: bool = True,
) -> str:
    """Write a safetensors file, flush it to the disk and return the hash of its bytes (BLAKE2b-256, hex).

    Where nobody asks for the hash it is empty: it takes as long as copying the bytes.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + ITEM_BYTES[tensor.dtype] * math.prod(tensor.shape)
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-(8 + len(encoded)) % ALIGNMENT)
    digest = hashlib.blake2b(digest_size=32)
    with naming(path), path.open("wb") as file:
        begin = (len(encoded).to_bytes(8, "little"), encoded)
        for part in chain(begin, *map(_parts, tensors.values())):
            if hashed:
                digest.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest() if hashed else ""


def _parts(tensor: Tensor | Streamed) -> Iterable[Any]:
    return tensor.parts() if isinstance(tensor, Streamed) else (tensor.data,)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Map a safetensors file and return its tensors, which share the mapping: nothing is read until it is used."""
    return read_described(path)[0]


def read_described(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file, as `read_tensors` does, and what its header says beside them."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    data = memoryview(mapped)
    if size < 8:
        raise damaged(path, f"{size} bytes are no safetensors file")
    length = int.from_bytes(data[:8], "little")
    if length > min(HEADER_LIMIT, size - 8):
        most = f", and {HEADER_LIMIT:,} are the most" if length <= size - 8 else ""
        raise damaged(path, f"its header claims {length:,} bytes of the file's {size:,}{most}")
    encoded = bytes(data[8 : 8 + length])
    # counted before it is parsed, which takes seconds where there are millions; a name holds no bare quotes
    if (claimed := encoded.count(b'"data_offsets"')) > TENSORS_LIMIT:
        raise damaged(path, f"its header claims {claimed:,} tensors, and {TENSORS_LIMIT:,} are the most")
    try:
        header = json.loads(encoded)
        if not isinstance(header, dict):
            raise ValueError("not an object")
        metadata = header.pop("__metadata__", {})
        if len(header) > TENSORS_LIMIT:
            raise ValueError(f"{len(header):,} tensors, and {TENSORS_LIMIT:,} are the most")
        return _tensors(path, header, data[8 + length :]), metadata
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(path, f"its header does not parse ({error})") from error


def _tensors(path: Path, header: dict[str, Any], data: memoryview) -> dict[str, Tensor]:
    """Return the tensors cut out of the file.

    Each is checked: its type is known, there is room for its shape, and there are no gaps and no overlaps.
    """
    found: dict[str, Tensor] = {}
    expected = 0
    for name, entry in sorted(header.items(), key=lambda item: list(item[1]["data_offsets"])):
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not all(type(value) is int and value >= 0 for value in (*shape, start, stop)):
            raise damaged(path, f"tensor {name} has a shape or offsets that are no counts")
        if dtype not in ITEM_BYTES:
            raise damaged(path, f"tensor {name} is of the unknown type {dtype}")
        if start != expected or stop > len(data):
            raise damaged(
                path, f"tensor {name} claims bytes {start} to {stop}, where {expected} is next of {len(data)}"
            )
        if stop - start != ITEM_BYTES[dtype] * math.prod(shape):
            raise damaged(path, f"tensor {name} has {stop - start} bytes for {dtype} of shape {shape}")
        found[name] = Tensor(dtype, tuple(shape), data[start:stop])
        expected = stop
    if expected != len(data):
        raise damaged(path, f"{len(data) - expected} bytes follow its last tensor")
    return found


def damaged(path: Path, how: str) -> CheckpointError:
    """Return the error for a file that is not what it should be."""
    return CheckpointError(f"{path} is damaged: {how}", "pylm verify RUN names the newest sound checkpoint")
