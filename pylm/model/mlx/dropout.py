"""Dropout in MLX, by the masks that every backend draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from pylm.model.masks import GAMMA, LANES, MULTIPLIERS, mixed, threshold

__all__ = ["dropped", "keys_array"]


def dropped(x: Any, key: Any, share: float) -> Any:
    """Return an array with a share of its elements zero and the others enlarged to make up for it.

    Args:
        x: of any shape.
        key: a word of `keys_array`.
        share: of the elements that are dropped, below 1.
    """
    least, scale = threshold(share)
    count = math.prod(x.shape)
    words = mx.arange(1, -(-count // LANES) + 1, dtype=mx.uint64) * _word(GAMMA) + mx.stop_gradient(key)
    drawn = mixed(words, (_word(MULTIPLIERS[0]), _word(MULTIPLIERS[1])), lambda z, bits: z >> mx.array(bits, mx.uint64))
    kept = (drawn.view(mx.int16)[:count] >= mx.array(least, mx.int16)).reshape(x.shape)
    return mx.where(kept, (x.astype(mx.float32) * scale).astype(x.dtype), mx.zeros((), x.dtype))


def keys_array(keys: Sequence[int]) -> Any:
    """Return keys as an array of words."""
    return mx.array(np.array(keys, np.uint64))


def _word(value: int) -> Any:
    return mx.array(np.array(value, np.uint64))
