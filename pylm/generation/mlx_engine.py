"""Generation on MLX: a preallocated cache of keys and values beside the model.

Letters of shapes: B rows, T new tokens, S tokens of the cache, H heads, G heads of keys and values, D width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import mlx.core as mx
import numpy as np

from pylm.checkpoint import Weights
from pylm.generation import mlx_branches
from pylm.generation.branches import Branches, Scored
from pylm.generation.cached_engine import CachedEngine
from pylm.generation.engine import Cache, Logits
from pylm.model.mlx import Model, load
from pylm.model.mlx.device import on_gpu, take_device
from pylm_kernels import mlx as kernels

__all__ = ["MlxCache", "MlxEngine"]

DTYPES = {"fp32": mx.float32, "bf16": mx.bfloat16}


class MlxCache:
    """Keys and values of some sequences, [B, S, G, D] a layer, and what the model asks in a forward pass."""

    def __init__(self, model: Model, rows: int, capacity: int) -> None:
        """Allocate zeros, which a mask may multiply."""
        assert model.shape.n_kv_heads is not None
        size = (rows, capacity, model.shape.n_kv_heads, model.head_dim)
        dtype = model.weights["embed.weight"].dtype
        self.capacity = capacity
        self.ids: list[list[int]] = [[] for _ in range(rows)]
        self._keys = [mx.zeros(size, dtype) for _ in range(model.n_layers)]
        self._values = [mx.zeros(size, dtype) for _ in range(model.n_layers)]
        self._row: int | None = None  # the row of a prefill; None while all rows decode
        self._every = False
        self._starts: list[int] = []

    def truncate(self, row: int, length: int) -> None:
        """Forget what follows the first `length` tokens of a row."""
        del self.ids[row][length:]

    def copy(self, source: int, target: int) -> None:
        """Make one row a copy of another."""
        for array in (*self._keys, *self._values):
            array[target] = array[source]
        self.ids[target] = list(self.ids[source])

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, which move up in this order."""
        index = mx.array(list(rows))
        self._keys = [array[index] for array in self._keys]
        self._values = [array[index] for array in self._values]
        self.ids = [self.ids[row] for row in rows]

    def begin(self, row: int | None, every: bool = False) -> None:
        """Say what the next forward pass appends to: one row, or every row.

        With `every`, it gives logits of all tokens.
        """
        self._row, self._every = row, every
        self._starts = [len(ids) for ids in self.ids] if row is None else [len(self.ids[row])]

    def kept(self) -> list[tuple[Any, Any]]:
        """Return the keys and values of the only row, [S, G, D] each, a pair a layer."""
        held = len(self.ids[0])
        return [(keys[0, :held], values[0, :held]) for keys, values in zip(self._keys, self._values, strict=True)]

    def positions(self, time: int) -> Any:
        """Return where each new token stands, [B, T]."""
        return mx.array(self._starts)[:, None] + mx.arange(time)

    def attend(self, layer: int, q: Any, k: Any, v: Any, *, window: int | None, softcap: float | None) -> Any:
        """Store the new keys and values, and return the attention of the new queries to all that is there."""
        limits: dict[str, Any] = {"window": window, "softcap": softcap}
        if self._row is None:
            alike = len(set(self._starts)) == 1  # then only what is filled is read
            lengths = self._starts[0] if alike else mx.array(self._starts)
            mixed, self._keys[layer], self._values[layer] = kernels.attention_decode(
                q, k, v, k_cache=self._keys[layer], v_cache=self._values[layer], lengths=lengths, **limits
            )
            return mixed
        row, start = slice(self._row, self._row + 1), self._starts[0]
        stop = start + q.shape[1]
        self._keys[layer][row, start:stop], self._values[layer][row, start:stop] = k, v
        return kernels.rope_attention(q, self._keys[layer][row, :stop], self._values[layer][row, :stop], **limits)

    def last(self, hidden: Any) -> Any:
        """Return the states that become logits: each row's last, or all of the only row."""
        return hidden[0] if self._every else hidden[:, -1]


class MlxEngine(CachedEngine):
    """An MLX model with a cache."""

    def __init__(self, model: Model) -> None:
        """Take a model as it is."""
        assert model.shape.vocab_size is not None
        self.model = model
        self.context_length = model.shape.context_length
        self.vocab_size = model.shape.vocab_size

    @classmethod
    def load(cls, opened: Weights, device: str, dtype: str) -> MlxEngine:
        """Load a folder of weights, ours or Hugging Face's; `auto` is bf16 on a GPU and fp32 on a CPU."""
        take_device(device)
        if dtype == "auto":
            dtype = "bf16" if on_gpu() else "fp32"
        return cls(load(opened, DTYPES[dtype]))

    @property
    def name(self) -> str:
        """Return what computes, in a few words."""
        dtype = str(self.model.weights["embed.weight"].dtype).removeprefix("mlx.core.")
        where = "gpu" if on_gpu() else "cpu (for correctness only: MLX is made for Apple GPUs)"
        return f"MLX {version('mlx')}, {dtype}, {where}"

    def cache(self, rows: int, capacity: int) -> MlxCache:
        """Make room for so many sequences of so many tokens."""
        return MlxCache(self.model, rows, min(capacity, self.context_length))

    def score(self, branches: Branches, cache: Cache | None) -> Scored:
        """Return what targets are worth on branches of the only row, or of nothing."""
        assert cache is None or isinstance(cache, MlxCache)
        kept = [] if cache is None else cache.kept()
        return mlx_branches.score(self.model, branches, kept, 0 if cache is None else len(cache.ids[0]))

    def _forward(self, rows: Sequence[Sequence[int]], cache: Cache, row: int | None, every: bool = False) -> Logits:
        assert isinstance(cache, MlxCache)
        cache.begin(row, every)
        logits: Logits = np.array(self.model([list(ids) for ids in rows], cache=cache))
        for ids, new in zip(cache.ids if row is None else [cache.ids[row]], rows, strict=True):
            ids.extend(new)
        return logits
