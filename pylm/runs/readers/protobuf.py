"""Protocol buffers' wire format, for the few fields of other tools' files that are read."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["fields", "raw", "varint"]

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
LONGEST = 10  # bytes of a number


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place after it."""
    value = shift = 0
    for place in range(at, min(at + LONGEST, len(data))):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    raise ValueError("a number does not end")


def raw(value: int | bytes) -> bytes:
    """Return the bytes of a field that has some."""
    if isinstance(value, int):
        raise ValueError("a field is of another kind")
    return value


def fields(data: int | bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the content of each field of a message: an integer, or the bytes of anything else."""
    data = raw(data)
    at, end = 0, len(data)
    while at < end:
        key, at = varint(data, at)
        kind, value = key & 7, 0
        if kind == VARINT:
            value, at = varint(data, at)
            yield key >> 3, value
            continue
        if kind == BYTES:
            size, at = varint(data, at)
        elif kind in (EIGHT, FOUR):
            size = 8 if kind == EIGHT else 4
        else:
            raise ValueError(f"no field is of kind {kind}")
        if at + size > end:
            raise ValueError("a field is longer than its message")
        yield key >> 3, data[at : at + size]
        at += size
