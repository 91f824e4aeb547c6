"""What the losses are made of: by the position of a token, by how frequent it is, by how sure the model was."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pylm.evaluation.losses import Losses

__all__ = ["BREAKDOWNS", "Bin", "Breakdown", "ByConfidence", "ByFrequency", "ByPosition", "breakdown_of"]

BREAKDOWNS = ("position", "frequency", "confidence")
CONFIDENCE_BINS = 10

Integers = npt.NDArray[np.int64]


class Bin(NamedTuple):
    """Some of the targets: the means over them."""

    first: float
    last: float
    tokens: int
    loss: float
    accuracy: float
    confidence: float


class Breakdown(Protocol):
    """Sums over targets in bins."""

    name: str

    def add(self, found: Losses, ids: Integers, positions: Integers) -> None:
        """Add targets."""
        ...

    def bins(self) -> list[Bin]:
        """Return the bins that hold any, in order."""
        ...


class _Sums:
    """Sums of losses, hits and confidences for each of some numbers."""

    def __init__(self, size: int) -> None:
        self.table = np.zeros((4, size))

    def add(self, found: Losses, where: Integers) -> None:
        size = self.table.shape[1]
        for row, values in enumerate((None, found.nats, found.correct, found.confidence)):
            self.table[row] += np.bincount(where, None if values is None else values.astype(np.float64), size)

    def bins(self, number_of: Integers, bounds: list[tuple[float, float]]) -> list[Bin]:
        """Return what the sums come to where each entry is in the bin of a number; below 0 in none."""
        kept = number_of >= 0
        sums = np.stack([np.bincount(number_of[kept], row[kept], len(bounds)) for row in self.table])
        return [
            Bin(*bound, int(tokens), float(nats / tokens), float(hits / tokens), float(sure / tokens))
            for bound, (tokens, nats, hits, sure) in zip(bounds, sums.T, strict=True)
            if tokens
        ]


class ByPosition:
    """By how many tokens the model saw before a target: 1, 2–3, 4–7 and so on."""

    name = "position"

    def __init__(self, context_length: int) -> None:
        """Take the longest that there is."""
        self._sums = _Sums(context_length + 1)

    def add(self, found: Losses, ids: Integers, positions: Integers) -> None:
        """Add targets."""
        self._sums.add(found, positions)

    def bins(self) -> list[Bin]:
        """Return the bins that hold any, in order."""
        number_of = _log2(np.arange(self._sums.table.shape[1]))
        return self._sums.bins(number_of, [(2**n, 2 ** (n + 1) - 1) for n in range(int(number_of.max()) + 1)])


class ByFrequency:
    """By how often a token is a target in the data: once, 2–9 times, 10–99 times and so on."""

    name = "frequency"

    def __init__(self, vocab_size: int) -> None:
        """Take the number of ids."""
        self._sums = _Sums(vocab_size)

    def add(self, found: Losses, ids: Integers, positions: Integers) -> None:
        """Add targets."""
        self._sums.add(found, ids)

    def bins(self) -> list[Bin]:
        """Return the bins that hold any, in order."""
        counts = self._sums.table[0].astype(np.int64)
        digits = np.array([len(str(count)) for count in counts])  # exact, as logarithms are not
        number_of = np.where(counts > 1, digits, np.where(counts == 1, 0, -1))
        bounds = [(1.0, 1.0), *((float(max(10 ** (n - 1), 2)), float(10**n - 1)) for n in range(1, digits.max() + 1))]
        return self._sums.bins(number_of, bounds)


class ByConfidence:
    """By the probability of the likeliest token, in tenths: calibrated is who is right as often as sure."""

    name = "confidence"

    def __init__(self) -> None:
        """Begin with none."""
        self._sums = _Sums(CONFIDENCE_BINS)

    def add(self, found: Losses, ids: Integers, positions: Integers) -> None:
        """Add targets."""
        where = (np.nan_to_num(found.confidence) * np.float32(CONFIDENCE_BINS)).astype(np.int64)
        self._sums.add(found, where.clip(0, CONFIDENCE_BINS - 1))

    def bins(self) -> list[Bin]:
        """Return the bins that hold any, in order."""
        bounds = [(n / CONFIDENCE_BINS, (n + 1) / CONFIDENCE_BINS) for n in range(CONFIDENCE_BINS)]
        return self._sums.bins(np.arange(CONFIDENCE_BINS), bounds)

    def error(self) -> float | None:
        """Return the expected calibration error: how far hits and confidence are apart in a bin, on average."""
        bins = self.bins()
        tokens = sum(each.tokens for each in bins)
        return sum(each.tokens * abs(each.accuracy - each.confidence) for each in bins) / tokens if tokens else None


def breakdown_of(name: str, context_length: int, vocab_size: int) -> Breakdown:
    """Return an empty breakdown of `position` or `frequency`."""
    return ByPosition(context_length) if name == "position" else ByFrequency(vocab_size)


def _log2(numbers: Integers) -> Integers:
    """Return the whole logarithms, exactly; -1 for 0."""
    return np.array([int(number).bit_length() - 1 for number in numbers])
