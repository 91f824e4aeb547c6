"""How many rows each row group of a parquet file has: all that a slice's end needs of its footer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

__all__ = ["row_of", "rows_of_groups"]

MAGIC = b"PAR1"
ROW_GROUPS, ROWS = 4, 3  # fields of FileMetaData and of RowGroup, in parquet.thrift
STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12


def row_of(groups: Sequence[int], number: int) -> tuple[int, int]:
    """Return the row group of a file's row and which of its rows it is."""
    group = 0
    while group < len(groups) - 1 and number >= groups[group]:
        group, number = group + 1, number - groups[group]
    return group, number


def rows_of_groups(size: int, read: Callable[[int, int], bytes]) -> list[int]:
    """Return the rows of each row group, from the end of a file; `read` takes a start and a length."""
    tail = read(size - 8, 8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or length + 8 > size:
        raise ValueError("no footer of parquet")
    return _Footer(read(size - 8 - length, length)).row_groups()


class _Footer:
    """Thrift's compact protocol, read as far as it is needed here."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def row_groups(self) -> list[int]:
        """Return the rows of each row group."""
        rows: list[int] = []
        for field, kind in self._fields():
            if (field, kind) == (ROW_GROUPS, LIST):
                rows = [self._rows() for _ in range(self._list()[0])]
            else:
                self._skip(kind)
        return rows

    def _rows(self) -> int:
        rows = 0
        for field, kind in self._fields():
            if field == ROWS:
                rows = self._zigzag()
            else:
                self._skip(kind)
        return rows

    def _fields(self) -> Iterator[tuple[int, int]]:
        field = 0
        while (head := self._byte()) != STOP:
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            yield field, head & 15

    def _list(self) -> tuple[int, int]:
        head = self._byte()
        return (self._number() if head >> 4 == 15 else head >> 4), head & 15

    def _skip(self, kind: int) -> None:
        if kind in (TRUE, FALSE):
            return
        if kind == BYTE:
            self.at += 1
        elif kind == DOUBLE:
            self.at += 8
        elif kind == BINARY:
            length = self._number()
            self.at += length
        elif kind in (LIST, SET):
            count, inner = self._list()
            for _ in range(count):
                if inner in (TRUE, FALSE):  # a byte each, in a list
                    self.at += 1
                else:
                    self._skip(inner)
        elif kind == STRUCT:
            for _, inner in self._fields():
                self._skip(inner)
        else:
            self._number()

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _number(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def _zigzag(self) -> int:
        number = self._number()
        return (number >> 1) ^ -(number & 1)
