"""Sums over tokens and what they come to: loss, accuracy, bits for each byte and character, and of each document."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pylm.evaluation.bits import Bits, ByteSums

if TYPE_CHECKING:
    from pylm.evaluation.breakdown import Breakdown
    from pylm.evaluation.losses import Losses
    from pylm.tokenizer import Tokenizer

__all__ = ["TextLengths", "Tally", "Units"]

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


class TextLengths(NamedTuple):
    """How much text each id stands for; 0 for special tokens."""

    bytes: npt.NDArray[np.int32]
    characters: npt.NDArray[np.int32]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TextLengths | None:
        """Return them for a tokenizer; None where its tokens have no bytes of their own."""
        lengths = tokenizer.byte_lengths()
        if lengths is None:
            return None
        # a character counts where it begins: its other bytes are 10xxxxxx
        begun = [sum(byte & 0xC0 != 0x80 for byte in tokenizer.token_bytes(i) or b"") if size else 0
                 for i, size in enumerate(lengths.tolist())]  # fmt: skip
        return cls(lengths, np.array(begun, np.int32))


class Units(NamedTuple):
    """Sums of each document (or window, where nobody knows the documents), in the order of the data."""

    keys: Integers
    nats: Reals
    tokens: Integers
    correct: Integers
    text_nats: Reals
    bytes: Integers


@dataclass
class Tally:
    """Sums over targets, in batches of any size."""

    lengths: TextLengths | None
    breakdowns: list[Breakdown] = field(default_factory=list)
    nats: float = 0.0
    correct: int = 0
    tokens: int = 0
    characters: int = 0
    _sums: ByteSums | None = None
    _parts: list[Units] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin to sum bytes, where they are known."""
        if self.lengths is not None:
            self._sums = ByteSums(self.lengths.bytes)

    def add(self, found: Losses, ids: Integers, positions: Integers, units: Integers) -> None:
        """Add targets, all of which count.

        Args:
            found: their losses.
            ids: what they are.
            positions: how many tokens the model saw before each.
            units: the document (or window) of each.
        """
        nats = found.nats.astype(np.float64)
        self.nats += float(nats.sum())
        self.correct += int(found.correct.sum())
        self.tokens += len(ids)
        text = np.zeros(len(ids), np.int64)
        if self.lengths is not None and self._sums is not None:
            self._sums.add(nats, ids)
            text = self.lengths.bytes[ids].astype(np.int64)
            self.characters += int(self.lengths.characters[ids].sum(dtype=np.int64))
        for breakdown in self.breakdowns:
            breakdown.add(found, ids, positions)
        text_nats = np.where(text > 0, nats, 0.0)
        self._parts.append(_by_unit(units, nats, np.ones_like(ids), found.correct, text_nats, text))

    def add_end(self, nats: float) -> None:
        """Add the loss of an end of text that is no target of its own: it counts in `bits_per_byte_with_eot` alone."""
        if self._sums is not None:
            self._sums.nats += nats

    @property
    def loss(self) -> float:
        """The mean loss of a target."""
        return self.nats / max(self.tokens, 1)

    @property
    def bits(self) -> Bits:
        """Bits for each byte."""
        return Bits() if self._sums is None else self._sums.bits()

    @property
    def bytes(self) -> int | None:
        """The bytes of text; None where nobody knows."""
        return None if self._sums is None else self._sums.text_bytes

    @property
    def bits_per_character(self) -> float | None:
        """The nats of text in bits, for each of its code points."""
        if self._sums is None or not self.characters:
            return None
        return self._sums.text_nats / (math.log(2) * self.characters)

    def units(self) -> Units:
        """Return the sums of each document."""
        if not self._parts:
            return _by_unit(*(np.zeros(0, np.int64) for _ in Units._fields))
        return _by_unit(*(np.concatenate(each) for each in zip(*self._parts, strict=True)))


def _by_unit(keys: Integers, nats: Any, tokens: Any, correct: Any, text_nats: Any, text: Any) -> Units:
    """Return the sums of entries with the same key."""
    distinct, rows = np.unique(keys, return_inverse=True)

    def summed(values: Any) -> Any:
        made = np.bincount(rows, weights=values, minlength=len(distinct))
        return made if values.dtype == np.float64 else np.rint(made).astype(np.int64)

    return Units(distinct, summed(nats), summed(tokens), summed(correct), summed(text_nats), summed(text))
