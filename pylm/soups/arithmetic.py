"""Weighted sums of tensors, a piece at a time: fp64 inside, rounded once, and every sum in one order.

No product goes through BLAS, whose sums depend on threads and processor.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pylm.checkpoint import Tensor
from pylm.errors import CheckpointError
from pylm.model.floats import FLOATS, from_bf16, to_bf16

if TYPE_CHECKING:
    from pylm.soups.parents import Parent

__all__ = ["Coefficients", "Summed", "gram_of"]

PIECE = 1 << 18  # numbers at a time: 2 MB in fp64
RELEASED = 16  # pieces after which what was read of the mapped files is given back

Reals = npt.NDArray[np.float64]
Coefficients = Callable[[Sequence[Tensor], str], Sequence[float]]  # of tensors that go by one name


@dataclass(frozen=True)
class Summed:
    """The weighted sum of one tensor of each parent, computed while it is written."""

    name: str
    parents: Sequence[Parent]
    coefficients: Coefficients
    progress: Callable[[int], object]  # called with the bytes of each part

    @property
    def dtype(self) -> str:
        """Return the parents' type."""
        return self._tensors[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the parents' shape."""
        return self._tensors[0].shape

    @property
    def _tensors(self) -> list[Tensor]:
        return [parent.weights[self.name] for parent in self.parents]

    def parts(self) -> Iterator[Any]:
        """Yield the sum's bytes, the next ones being computed while these are written.

        It is an error where a parent holds NaN or an infinity, which would spread.
        """
        tensors = self._tensors
        if self.dtype not in FLOATS:  # counts and masks, which are the same in all
            yield tensors[0].data
            return
        for made in _ahead(self._sums(tensors)):
            yield made.data
            self.progress(made.nbytes)

    def _sums(self, tensors: Sequence[Tensor]) -> Iterator[npt.NDArray[Any]]:
        factors = [np.float64(factor) for factor in self.coefficients(tensors, self.name)]
        for pieces in _pieces(tensors):
            made = _rounded(_sum(pieces, factors), self.dtype)
            if not _is_finite(made, self.dtype):
                raise self._not_finite(pieces)
            yield made

    def _not_finite(self, pieces: Sequence[npt.NDArray[Any]]) -> CheckpointError:
        for parent, piece in zip(self.parents, pieces, strict=True):
            if strange := piece[~np.isfinite(piece)].tolist():
                held = "NaN" if strange[0] != strange[0] else "an infinity"
                return CheckpointError(
                    f"{parent.name} holds {held} in {self.name}, which no average gets rid of", "leave it out"
                )
        return CheckpointError(f"the sum of {self.name} is larger than {self.dtype} holds")


def _ahead(parts: Iterator[npt.NDArray[Any]]) -> Iterator[npt.NDArray[Any]]:
    """Yield what an iterator yields, which goes on in another thread meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = pool.submit(next, parts, None)
            yield part


def gram_of(tensors: Sequence[Tensor]) -> Reals:
    """Return the scalar products of tensors, each taken as one vector, with each other."""
    products = np.zeros((len(tensors), len(tensors)))
    for pieces in _pieces(tensors):
        wide = [piece.astype(np.float64) for piece in pieces]
        with np.errstate(over="ignore", invalid="ignore"):
            for row, one in enumerate(wide):
                for column in range(row, len(wide)):
                    products[row, column] += (one * wide[column]).sum()
    whole: Reals = np.triu(products) + np.triu(products, 1).T
    return whole


def _pieces(tensors: Sequence[Tensor]) -> Iterator[list[npt.NDArray[Any]]]:
    """Yield what stands in the same place of each, at most PIECE numbers of it."""
    views = [np.frombuffer(tensor.data, FLOATS[tensor.dtype]) for tensor in tensors]
    read: Callable[[Any], npt.NDArray[Any]] = from_bf16 if tensors[0].dtype == "BF16" else np.asarray
    for number, start in enumerate(range(0, len(views[0]), PIECE), 1):
        yield [read(view[start : start + PIECE]) for view in views]
        if number % RELEASED == 0:
            _release(tensors)
    _release(tensors)


def _release(tensors: Iterable[Tensor]) -> None:
    """Give back the memory of what was read of mapped files; it comes again from the disk where it is asked for."""
    for tensor in tensors:
        if isinstance(mapped := tensor.data.obj, mmap.mmap) and hasattr(mapped, "madvise"):
            mapped.madvise(mmap.MADV_DONTNEED)


def _sum(pieces: Sequence[npt.NDArray[Any]], factors: Sequence[np.float64]) -> Reals:
    with np.errstate(over="ignore", invalid="ignore"):
        total: Reals = np.multiply(pieces[0], factors[0], dtype=np.float64)
        room = np.empty_like(total)
        for piece, factor in zip(pieces[1:], factors[1:], strict=True):
            np.add(total, np.multiply(piece, factor, out=room, dtype=np.float64), out=total)
    return total


def _rounded(total: Reals, dtype: str) -> npt.NDArray[Any]:
    """Return a sum in the parents' type: to bf16 from fp32, to the nearest and the even one of two."""
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype != "BF16":
            return total.astype(FLOATS[dtype])
        return to_bf16(total.astype(np.float32))


def _is_finite(values: npt.NDArray[Any], dtype: str) -> bool:
    return bool(((values & 0x7F80) != 0x7F80).all() if dtype == "BF16" else np.isfinite(values).all())
