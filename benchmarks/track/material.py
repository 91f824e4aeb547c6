"""What the drivers of the peers share: documents, tokens to draw from, bits per byte of the text that was held back."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.track.clock import waited

SEPARATOR = "<|endoftext|>"
POOL_CHARACTERS = 4_000_000  # encoded at once, before they are needed
SCORED_TOKENS = 4096  # in a forward pass

Encode = Callable[[list[str]], list[list[int]]]
Batch = tuple[Any, Any, Any]  # inputs, targets, which targets are text


def documents(path: str) -> list[str]:
    """The documents of a text, without the empty ones."""
    return [document for document in Path(path).read_text(encoding="utf-8").split(SEPARATOR) if document]


def checkout(folder: str) -> None:
    """Let a peer's own modules be imported from its folder."""
    sys.path.insert(0, folder)


class Pool:
    """Tokens in windows from anywhere; documents are encoded in a random order, and no more of them than are needed."""

    def __init__(self, texts: Sequence[str], encode: Encode, seed: int) -> None:
        """`encode` gives the ids of some documents, their separators among them."""
        import numpy as np

        self._encode = encode
        self._random = np.random.default_rng(seed)
        self._left = iter([texts[number] for number in self._random.permutation(len(texts))])
        self._ids = np.zeros(0, np.int64)
        self._drawn = 0

    def _grow(self) -> None:
        import numpy as np

        batch: list[str] = []
        length = 0
        for text in self._left:
            batch.append(text)
            length += len(text)
            if length >= POOL_CHARACTERS:
                break
        self._ids = np.concatenate([self._ids, *(np.array(ids, np.int64) for ids in self._encode(batch))])

    def rows(self, count: int, length: int) -> tuple[Any, Any]:
        """Inputs and targets, [count, length]."""
        import numpy as np
        import torch

        if 2 * self._drawn >= len(self._ids):
            self._grow()
        self._drawn += count * length
        starts = self._random.integers(0, len(self._ids) - length, count)
        rows = torch.from_numpy(np.stack([self._ids[start : start + length + 1] for start in starts]))
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def windows(encoded: Sequence[Sequence[int]], before: int, separator: bool, length: int) -> Iterator[Batch]:
    """Inputs, targets and which targets are text, a batch at a time: windows of `length`, each token once.

    Args:
        encoded: the documents' ids.
        before: the token that stands before the first document.
        separator: whether it stands before each of them.
        length: of the competitor's context.
    """
    import torch

    ids, text = [before], [False]
    for number, document in enumerate(encoded):
        if separator and number:
            ids.append(before)
            text.append(False)
        ids.extend(document)
        text.extend([True] * len(document))
    padding = -(len(ids) - 1) % length
    ids, text = ids + [before] * padding, text + [False] * padding
    x, y = torch.tensor(ids[:-1]).view(-1, length), torch.tensor(ids[1:]).view(-1, length)
    counted = torch.tensor(text[1:]).view(-1, length)
    rows = max(1, SCORED_TOKENS // length)
    for start in range(0, len(x), rows):
        yield x[start : start + rows], y[start : start + rows], counted[start : start + rows]


def bits_per_byte(batches: Iterator[Batch], nats: Callable[[Any, Any], Any], texts: Sequence[str]) -> float:
    """The bits that a model needs for a byte of the held-out documents; `nats` are of each target, [rows, length]."""
    import torch

    total = 0.0
    with torch.no_grad():
        for x, y, counted in batches:
            total += float(nats(x, y).double()[counted].sum())
    return total / math.log(2) / sum(len(document.encode()) for document in texts)


def answer(seconds: float, steps: int, size: tuple[int, int], model: Any, bits: float) -> dict[str, Any]:
    """What a driver returns: `size` is rows and tokens of a row."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    figures = {"steps": steps, "tokens": steps * size[0] * size[1], "parameters": parameters, "waited": waited()}
    return {"seconds": seconds, "bits_per_byte": bits, **figures, "result": None}


def trained_bpe(texts: Sequence[str], vocabulary: int, pattern: str, special: str) -> Any:
    """A tiktoken encoding whose merges rustbpe learns from the text."""
    import rustbpe
    import tiktoken

    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(iter(texts), vocabulary - 1, pattern=pattern)
    ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
    return tiktoken.Encoding("own", pat_str=pattern, mergeable_ranks=ranks, special_tokens={special: len(ranks)})
