"""The validation split: always the same windows of it, each once, and what their losses come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pylm.data.open import byte_lengths_of, loader_of, split_of
from pylm.evaluation.bits import Bits, ByteSums

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pylm.config.schema import Config
    from pylm.data import Batch, Loader
    from pylm.data.identity import Identity

__all__ = ["Scores", "Validation", "batches_of"]

BATCH_TOKENS = 8192  # about as many tokens as a batch has

# what a backend says of the first so many rows of a batch: the sum of the losses, tokens guessed, tokens that count,
# and the loss of each target
Count = Callable[["Batch", int], tuple[float, int, int, "npt.NDArray[np.float32]"]]


Exchange = Callable[[list[list[float]]], list[list[float]]]


class Scores(NamedTuple):
    """The means over all tokens that count."""

    loss: float
    perplexity: float
    accuracy: float
    bits_per_byte: float | None
    bits_per_byte_with_eot: float | None

    @classmethod
    def of(cls, loss: float, correct: int, tokens: int, bits: Bits) -> Scores:
        """Return the means from the sums."""
        mean = loss / max(tokens, 1)
        perplexity = math.exp(mean) if mean < 700 else math.inf
        return cls(mean, perplexity, correct / max(tokens, 1), *bits)


def batches_of(config: Config, windows: int) -> tuple[int, int]:
    """Return the rows of a batch, and how many batches an evaluation on so many windows has."""
    rows = max(min(BATCH_TOKENS // config.model.context_length, windows), 1)
    batches = math.ceil(windows / rows)
    return rows, min(batches, config.train.eval_batches or batches)


class Validation:
    """The windows that a run is judged by."""

    def __init__(self, config: Config, identity: Identity) -> None:
        """Find the windows of the validation split, which `identity` locates and must have."""
        self._config = config
        self._folder, self._split = split_of(config, identity)
        self._byte_lengths = byte_lengths_of(self._folder)
        self.windows = self._load(1).windows
        self._rows, self._batches = batches_of(config, self.windows)
        self.loader = self._load(self._rows)
        self.tokens = min(self._batches * self._rows, self.windows) * config.model.context_length

    def scores(
        self,
        count: Count,
        stopping: Callable[[], bool] = lambda: False,
        share: tuple[int, int] = (0, 1),
        exchange: Exchange = lambda rows: rows,
    ) -> Scores | None:
        """Return the scores over all batches; None where somebody asked to stop.

        Args:
            count: is asked about each batch.
            stopping: asked before each.
            share: this process, and how many share the batches; all of them count as often.
            exchange: gives the rows of all of them for this process's, by the number of the batch.
        """
        rank, world = share
        rows = []
        for number in range(rank, -(-self._batches // world) * world, world):
            if stopping():
                return None
            batch, left = self._batch(min(number, self._batches - 1))
            rows.append(self._sums(count(batch, left), batch.targets[:left]))
        sums = [0.0] * len(rows[0])
        for row in exchange(rows)[: self._batches]:
            sums = [before + more for before, more in zip(sums, row, strict=True)]
        loss, correct, tokens, text_nats, nats, text_bytes = sums
        lengths = self._byte_lengths
        bits = Bits() if lengths is None else ByteSums(lengths, text_nats, nats, int(text_bytes)).bits()
        return Scores.of(loss, int(correct), int(tokens), bits)

    def _sums(self, found: tuple[float, int, int, npt.NDArray[np.float32]], targets: npt.NDArray[Any]) -> list[float]:
        """Return what one batch adds to each sum."""
        if self._byte_lengths is None:
            return [*found[:3], 0.0, 0.0, 0.0]
        bits = ByteSums(self._byte_lengths)
        bits.add(found[3], targets)
        return [*found[:3], bits.text_nats, bits.nats, bits.text_bytes]

    def batches(self) -> Iterator[tuple[int, Batch, int]]:
        """Yield the number of each batch, the batch, and how many of its first rows count."""
        for number in range(self._batches):
            yield number, *self._batch(number)

    def _batch(self, number: int) -> tuple[Batch, int]:
        # the last batch of an epoch would go on into the next one: each window counts once
        return self.loader.batch(number), min(self.windows - number * self._rows, self._rows)

    def pieces(self, number: int) -> list[tuple[int, int, int, int, int, int]]:
        """Return where the tokens of a batch come from, see `Loader.pieces`."""
        return self.loader.pieces(number)

    def _load(self, rows: int) -> Loader:
        return loader_of(self._folder, self._config, rows, split=self._split, seed=0, strided=False)
