"""The validation split: always the same windows of it, each once, and what their losses come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

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

    def scores(self, count: Count, stopping: Callable[[], bool] = lambda: False) -> Scores | None:
        """Return the scores over all batches, each counted by `count`; None where somebody asked to stop."""
        loss, correct, tokens = 0.0, 0, 0
        sums = None if self._byte_lengths is None else ByteSums(self._byte_lengths)
        for _, batch, left in self.batches():
            if stopping():
                return None
            found = count(batch, left)
            loss, correct, tokens = loss + found[0], correct + found[1], tokens + found[2]
            if sums is not None:
                sums.add(found[3], batch.targets[:left])
        return Scores.of(loss, correct, tokens, Bits() if sums is None else sums.bits())

    def batches(self) -> Iterator[tuple[int, Batch, int]]:
        """Yield the number of each batch, the batch, and how many of its first rows count."""
        for number in range(self._batches):
            # the last batch of an epoch would go on into the next one: each window counts once
            yield number, self.loader.batch(number), min(self.windows - number * self._rows, self._rows)

    def pieces(self, number: int) -> list[tuple[int, int, int, int, int, int]]:
        """Return where the tokens of a batch come from, see `Loader.pieces`."""
        return self.loader.pieces(number)

    def _load(self, rows: int) -> Loader:
        return loader_of(self._folder, self._config, rows, split=self._split, seed=0, strided=False)
