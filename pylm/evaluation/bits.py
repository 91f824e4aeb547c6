"""Bits per byte: what a model's losses come to for each byte of text, whatever its vocabulary.

The nats of the tokens that are text / (ln 2 × the bytes of these tokens). Special tokens, such as the end of a text,
padding and chat roles, stand for no bytes: they are in neither sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Bits", "ByteSums", "bits_per_byte"]


class Bits(NamedTuple):
    """Bits for each byte of text; None where there is none, or nobody knows how many bytes it has."""

    bits_per_byte: float | None = None
    bits_per_byte_with_eot: float | None = None  # with the nats of special tokens, over the same bytes


@dataclass
class ByteSums:
    """Sums over batches of targets."""

    byte_lengths: npt.NDArray[np.int32]  # of each id, as `Tokenizer.byte_lengths` gives them
    text_nats: float = 0.0
    nats: float = 0.0
    text_bytes: int = 0

    def add(self, nats: npt.ArrayLike, ids: npt.ArrayLike) -> None:
        """Add tokens with their losses, arrays of one shape; ids below 0 are ignored targets, and count nowhere."""
        losses, targets = np.asarray(nats, np.float64), np.asarray(ids)
        counts = targets >= 0
        losses, lengths = losses[counts], self.byte_lengths[targets[counts]]
        self.text_nats += float(losses[lengths > 0].sum())
        self.nats += float(losses.sum())
        self.text_bytes += int(lengths.sum(dtype=np.int64))

    def bits(self) -> Bits:
        """Return what the sums come to."""
        if not self.text_bytes:
            return Bits()
        whole = math.log(2) * self.text_bytes
        return Bits(self.text_nats / whole, self.nats / whole)


def bits_per_byte(nats: npt.ArrayLike, ids: npt.ArrayLike, byte_lengths: npt.NDArray[np.int32]) -> Bits:
    """Return the bits per byte of tokens.

    Args:
        nats: the loss of each token.
        ids: what the tokens are, in the same shape; below 0 one that does not count.
        byte_lengths: of each id, as `Tokenizer.byte_lengths` gives them.
    """
    sums = ByteSums(byte_lengths)
    sums.add(nats, ids)
    return sums.bits()
