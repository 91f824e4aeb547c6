"""The checksum of TensorBoard's records: of one by plain Python, of many of one length by numpy."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["crc32c", "masked", "row_sums"]

Sum = TypeVar("Sum", int, npt.NDArray[np.uint32])

CASTAGNOLI = 0x82F63B78  # CRC-32C's polynomial, its bits reversed


def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (CASTAGNOLI if byte & 1 else 0)
        rows.append(byte)
    return tuple(rows)


TABLE = _table()
SUMS = np.array(TABLE, np.uint32)


def crc32c(content: bytes) -> int:
    """Return the checksum that iSCSI has too (RFC 3720)."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def row_sums(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Return the checksum of each row of bytes, a column at a time: one row alone is sooner summed by `crc32c`."""
    sums = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    for column in rows.T:
        sums = SUMS[(sums ^ column) & 0xFF] ^ (sums >> 8)
    return ~sums  # pyright: ignore[reportReturnType]


def masked(crc: Sum) -> Sum:
    """Return checksums as TensorFlow stores them: turned by 15 bits and moved, so that none is of itself."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF  # type: ignore[return-value]  # numpy's stubs lose the width
