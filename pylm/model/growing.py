"""Rows for tokens that a vocabulary did not have: each begins at the mean of its table, where no token is far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pylm.errors import CheckpointError
from pylm.model.floats import FLOATS, from_bf16
from pylm.model.names import Stored, Tensor

__all__ = ["TABLES", "grown"]

TABLES = ("embed.weight", "head.weight", "attention.value.weight")  # that have a row a token


def grown(weights: Mapping[str, Stored], rows: int, new: range) -> dict[str, Stored]:
    """Return the weights with tables of so many rows, in fp32, the new ones at the mean of those before them.

    Args:
        weights: by our names.
        rows: of the vocabulary from now on; padding beyond them goes.
        new: the rows of new tokens: some may be there, as padding that nobody trained.
    """
    return {name: _grown(name, one, rows, new) if name.endswith(TABLES) else one for name, one in weights.items()}


def _grown(name: str, stored: Stored, rows: int, new: range) -> Tensor:
    table = _floats(name, stored)
    mean = table[: new.start].mean(axis=0, dtype=np.float64).astype(np.float32)
    whole = np.empty((rows, table.shape[1]), np.float32)
    kept = min(rows, len(table))
    whole[:kept] = table[:kept]
    whole[kept:] = mean
    whole[new.start : new.stop] = mean
    return Tensor("F32", whole.shape, whole.reshape(-1).data.cast("B"))


def _floats(name: str, stored: Stored) -> NDArray[Any]:
    """Return a table's numbers."""
    if stored.dtype not in FLOATS:
        raise CheckpointError(f"{name} is of type {stored.dtype}, and weights are F64, F32, BF16, F16")
    numbers: NDArray[Any] = np.frombuffer(stored.data, FLOATS[stored.dtype]).reshape(stored.shape)
    return from_bf16(numbers) if stored.dtype == "BF16" else numbers
