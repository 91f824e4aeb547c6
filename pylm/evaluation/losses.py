"""What a model's engine says of given tokens: the loss of each, whether it was the likeliest, and how sure it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pylm.generation.engine import Engine, Logits

__all__ = ["Losses", "Reader", "losses_of"]

LOGITS_BYTES = 256 << 20  # of logits that exist at a time
CHUNK = 1024  # tokens at a time: what the C++ engine reads in one pass, where nothing is before them


class Losses(NamedTuple):
    """Of each target, in fp32."""

    nats: npt.NDArray[np.float32]
    correct: npt.NDArray[np.bool_]  # it was the likeliest; of several alike, the lowest id
    confidence: npt.NDArray[np.float32]  # the probability of the likeliest


def losses_of(logits: Logits, targets: npt.NDArray[np.int64]) -> Losses:
    """Return the losses of targets [n] after logits [n, vocab], by a log-softmax in fp32."""
    rows = np.arange(len(targets))
    likeliest = logits.argmax(-1)
    shifted = logits - logits[rows, likeliest][:, None]
    wanted = shifted[rows, targets]
    sums = np.exp(shifted, out=shifted).sum(-1)
    return Losses(np.log(sums) - wanted, likeliest == targets, 1 / sums)


class Reader:
    """Reads sequences with an engine, each alone: so nothing depends on which others are read, or in which order."""

    def __init__(self, engine: Engine) -> None:
        """Make room for one sequence."""
        self._engine = engine
        self._cache = engine.cache(1, engine.context_length)
        self._chunk = max(min(LOGITS_BYTES // (4 * engine.vocab_size), CHUNK), 1)

    def losses(self, inputs: Sequence[int], targets: Sequence[int]) -> Losses:
        """Return the losses of targets, which follow the last so many of the inputs."""
        engine, cache = self._engine, self._cache
        cache.truncate(0, 0)
        before = len(inputs) - len(targets)
        # few tokens before many targets are read with these: attention to a cache costs more than logits nobody wants
        read = 0 if before <= len(targets) else before
        if read:
            engine.prefill(inputs[:read], cache, 0)
        parts = []
        for start in range(read, len(inputs), self._chunk):
            logits = engine.verify(inputs[start : start + self._chunk], cache)[max(before - start, 0) :]
            first = max(start - before, 0)
            parts.append(losses_of(logits, np.asarray(targets[first : first + len(logits)], np.int64)))
        return Losses(*(np.concatenate(each) for each in zip(*parts, strict=True)))
