"""Generation on the CPU in C++: a whole token in one call, and no torch in the process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from pylm import _native
from pylm.config.schema import Model as Shape
from pylm.config.units import counted
from pylm.generation.branches import Branches, Scored
from pylm.generation.engine import Cache, Logits
from pylm.model.names import Stored
from pylm.model.scaling import scaled_frequencies

__all__ = ["NativeCache", "NativeEngine", "why_not"]

# Several sequences share the reading of the weights; a larger batch would gain little more and answer later.
ROWS_AT_ONCE = 16


def why_not(shape: Shape) -> str | None:
    """Say what of a shape the C++ engine does not compute; None where it computes all of it."""
    for key, name in (("value_embeddings", "value embeddings"), ("residual_lambdas", "residual lambdas")):
        if getattr(shape, key):
            return f"it has {name}"
    return None


class NativeCache:
    """A C++ cache for each row, and the ids that it holds."""

    def __init__(self, engine: _native.Engine, rows: int, capacity: int) -> None:
        """Allocate a cache for each row."""
        self.capacity = capacity
        self.ids: list[list[int]] = [[] for _ in range(rows)]
        self.rows = [engine.cache(capacity) for _ in range(rows)]

    def truncate(self, row: int, length: int) -> None:
        """Forget what follows the first `length` tokens of a row."""
        self.rows[row].truncate(length)
        del self.ids[row][length:]

    def copy(self, source: int, target: int) -> None:
        """Make one row a copy of another."""
        self.rows[target].copy(self.rows[source])
        self.ids[target] = list(self.ids[source])

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, which move up in this order."""
        self.rows = [self.rows[row] for row in rows]
        self.ids = [self.ids[row] for row in rows]


class NativeEngine:
    """A model in the C++ engine, which copies the weights, in fewer bits where asked.

    Its name says what it computes in: fp32 is fp32 whatever the weights are stored in, which stay as they are.
    """

    rows_at_once = ROWS_AT_ONCE
    verifies = True

    def __init__(self, shape: Shape, weights: Mapping[str, Stored], keep: str = "auto", threads: int = 0) -> None:
        """Hand the weights over to C++.

        Args:
            shape: completed.
            weights: by our names.
            keep: fp32 (auto is the same) rounds nothing; bf16, int8 and int4 keep the weights in so many bits, and
                keys, values and what a prompt's products read in bf16.
            threads: 0 for one a core.
        """
        assert shape.n_layers and shape.n_heads and shape.n_kv_heads and shape.d_model and shape.d_ff
        assert shape.vocab_size is not None
        self.context_length, self.vocab_size = shape.context_length, shape.vocab_size
        self._keep = "fp32" if keep == "auto" else keep
        mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()  # not on macOS
        self._threads = threads or mine or 1
        frequencies, magnitude = scaled_frequencies(shape)
        self._engine = _native.Engine(
            {name: weights[name] for name in weights},
            n_layers=shape.n_layers,
            n_heads=shape.n_heads,
            n_kv_heads=shape.n_kv_heads,
            d_model=shape.d_model,
            d_ff=shape.d_ff,
            vocab_size=shape.vocab_size,
            context_length=shape.context_length,
            norm=shape.norm,
            norm_eps=shape.norm_eps,
            mlp=shape.mlp,
            position=shape.position,
            rope_theta=shape.rope_theta,
            qk_norm=shape.qk_norm,
            bias=shape.bias,
            tied=shape.tied,
            window=shape.window or 0,
            attention_softcap=shape.attention_softcap or 0.0,
            logit_softcap=shape.logit_softcap or 0.0,
            quantize="none" if self._keep == "fp32" else self._keep,
            threads=threads,
            head_dim=shape.head_dim or 0,
            rope_frequencies=frequencies,
            rope_magnitude=magnitude,
            qkv_bias=shape.qkv_bias,
            out_bias=shape.out_bias,
            norm_gain=shape.norm_gain,
            embed_norm=shape.embed_norm,
        )

    @property
    def name(self) -> str:
        """Return what computes, in a few words."""
        threads = counted(self._threads, "thread")
        return f"C++ engine, {self._keep}, {_native.cpu_info()['variant']}, {threads}"

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of weights a token reads."""
        return self._engine.weight_bytes

    def cache(self, rows: int, capacity: int) -> NativeCache:
        """Make room for so many sequences of so many tokens."""
        return NativeCache(self._engine, rows, min(capacity, self.context_length))

    def prefill(self, ids: Sequence[int], cache: Cache, row: int) -> Logits:
        """Append ids to a row and return the logits after the last one, [vocab]."""
        assert isinstance(cache, NativeCache)
        logits = self._engine.read(ids, cache.rows[row])
        cache.ids[row].extend(ids)
        return logits

    def decode(self, ids: Sequence[int], cache: Cache) -> Logits:
        """Append one id to every row and return the logits after each, [rows, vocab]."""
        assert isinstance(cache, NativeCache)
        logits = self._engine.decode(ids, cache.rows)
        for row, token in zip(cache.ids, ids, strict=True):
            row.append(token)
        return logits

    def verify(self, ids: Sequence[int], cache: Cache) -> Logits:
        """Append ids to the only row and return the logits after each of them, [ids, vocab]."""
        assert isinstance(cache, NativeCache)
        logits = self._engine.read(ids, cache.rows[0], every=True)
        cache.ids[0].extend(ids)
        return logits

    def score(self, branches: Branches, cache: Cache | None) -> Scored:
        """Return what targets are worth on branches of the only row, or of nothing."""
        assert cache is None or isinstance(cache, NativeCache)
        ids, parents, after, targets = branches
        return Scored(*self._engine.score(ids, parents, None if cache is None else cache.rows[0], after, targets))
