"""Tensors in another type, a tensor at a time: what is written next is computed while it is written."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pylm.checkpoint.tensors import ITEM_BYTES
from pylm.errors import CheckpointError
from pylm.model.floats import FLOATS, from_bf16, to_bf16
from pylm.model.names import Halved, Joined, Stored, Transposed
from pylm.wording import param

__all__ = ["Cast", "as_float32", "bytes_of", "cast", "release", "rounded"]

PIECE = 1 << 20  # numbers at a time
Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class Cast:
    """A tensor as it is written: in the type that was asked for, its bytes counted as they go."""

    name: str
    held: Stored
    dtype: str
    written: Callable[[int], object] = lambda count: None

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its sizes."""
        return self.held.shape

    def parts(self) -> Iterator[Any]:
        """Yield its bytes in buffers that follow each other."""
        data = memoryview(self.held.data).cast("B")
        if self.dtype == self.held.dtype:
            yield data
            self.written(len(data))
            release(self.held)
            return
        numbers = np.frombuffer(data, FLOATS[self.held.dtype])
        for start in range(0, len(numbers), PIECE):
            part = rounded(as_float32(numbers[start : start + PIECE], self.held.dtype), self.dtype, self.name)
            yield part.data
            self.written(len(part) * numbers.itemsize)  # of those that are read, of which the whole is known
        release(self.held)


def release(held: Stored) -> None:
    """Give back the memory of what was read of a mapped file; it comes again from the disk where it is asked for."""
    held = held.turned if isinstance(held, Transposed | Halved) else held
    if not isinstance(held, Joined) and isinstance(mapped := memoryview(held.data).obj, mmap.mmap):
        if hasattr(mapped, "madvise"):
            mapped.madvise(mmap.MADV_DONTNEED)


def cast(
    tensors: Mapping[str, Stored], dtype: str | None, written: Callable[[int], object] = lambda count: None
) -> dict[str, Cast]:
    """Return tensors as they are to be written; those that are no floating point numbers stay what they are."""
    return {
        name: Cast(name, held, dtype if dtype and held.dtype in FLOATS else held.dtype, written)
        for name, held in tensors.items()
    }


def bytes_of(tensors: Mapping[str, Stored | Cast]) -> int:
    """Return how many bytes tensors take."""
    return sum(ITEM_BYTES[tensor.dtype] * math.prod(tensor.shape) for tensor in tensors.values())


def as_float32(numbers: Numbers, dtype: str) -> npt.NDArray[np.float32]:
    """Return numbers as a file holds them in float32."""
    if dtype == "BF16":
        return from_bf16(numbers)
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32, copy=False)


def rounded(numbers: npt.NDArray[np.float32], dtype: str, name: str) -> Numbers:
    """Return float32 in another type, to the nearest and the even one of two."""
    if dtype == "BF16":
        made: Numbers = to_bf16(numbers)
        if (strange := np.isnan(numbers)).any():  # whose bits may all be in the lower half: an infinity, rounded
            made[strange] = (numbers.view(np.uint32)[strange] >> 16) | 0x40
        return made
    with np.errstate(over="ignore"):
        made = numbers.astype(FLOATS[dtype])
    if dtype == "F16" and (np.isinf(made) & np.isfinite(numbers)).any():
        largest = float(np.abs(numbers[np.isfinite(numbers)]).max())
        raise CheckpointError(
            f"{name} holds {largest:g}, and fp16 ends at 65504", f"{param('dtype', 'bf16')} has the range of fp32"
        )
    return made
