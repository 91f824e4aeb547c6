"""Branches in MLX: one forward pass whose mask is the tree. Letters of shapes as in torch_branches.py."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import numpy as np

from pylm.errors import UsageError
from pylm.generation.branches import Branches, Scored, places, seen
from pylm.model.mlx import Model

__all__ = ["MlxBranches", "score"]


class MlxBranches:
    """What the model asks of a cache, for tokens that leave no trace in one."""

    def __init__(self, branches: Branches, kept: list[tuple[Any, Any]], held: int) -> None:
        """Begin after `held` tokens whose keys and values are `kept`, [S, G, D] each, a pair a layer."""
        self._branches, self._kept, self._held = branches, kept, held
        self.rows = sorted(set(branches.after))
        self._mask: Any = None

    def positions(self, time: int) -> Any:
        """Return where each token stands, [1, T]."""
        return mx.array(places(self._branches.parents, self._held))[None]

    def attend(self, layer: int, q: Any, k: Any, v: Any, *, window: int | None, softcap: float | None) -> Any:
        """Return the attention of each token to what is kept and to its ancestors."""
        if self._held:
            keys, values = self._kept[layer]
            k, v = mx.concatenate([keys[None], k], 1), mx.concatenate([values[None], v], 1)
        if self._mask is None:
            mask: Any = seen(self._branches.parents, self._held, window)
            self._mask = mx.array(mask)
        share, scale = q.shape[2] // k.shape[2], 1 / math.sqrt(q.shape[3])
        q, k, v = q.swapaxes(1, 2), *(mx.repeat(x.swapaxes(1, 2), share, 1) for x in (k, v))
        scores = (q.astype(mx.float32) @ k.astype(mx.float32).swapaxes(-1, -2)) * scale
        if softcap is not None:
            scores = softcap * mx.tanh(scores / softcap)
        weights = mx.softmax(mx.where(self._mask, scores, -math.inf), axis=-1)
        return (weights @ v.astype(mx.float32)).astype(v.dtype).swapaxes(1, 2)

    def last(self, hidden: Any) -> Any:
        """Return the states that targets come after."""
        return hidden[0][mx.array(self.rows)]


def score(model: Model, branches: Branches, kept: list[tuple[Any, Any]], held: int) -> Scored:
    """Return what the targets are worth; log-softmax is in fp32."""
    cache = MlxBranches(branches, kept, held)
    if not 0 <= min(*branches.ids, *branches.targets) <= max(*branches.ids, *branches.targets) < model.vocab_size:
        raise UsageError(f"a token leaves the vocabulary of {model.vocab_size}")
    # not the model's call, which takes a pass of more tokens than its context for one sequence
    hidden = model.hidden(model.weights, mx.array([branches.ids]), None, cache=cache)
    logits = model.logits(model.weights, cache.last(hidden)).astype(mx.float32)
    row_of = {token: row for row, token in enumerate(cache.rows)}
    rows = mx.array([row_of[token] for token in branches.after])
    targets = mx.array(branches.targets)
    nats = mx.logsumexp(logits, axis=-1)[rows] - logits[rows, targets]
    return Scored(np.array(nats), np.array(mx.argmax(logits, axis=-1)[rows] == targets))
