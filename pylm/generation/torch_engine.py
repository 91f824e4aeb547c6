"""Generation on torch: a preallocated cache of keys and values, and the same without one, which is its oracle.

Letters of shapes: B rows, T new tokens, S tokens of the cache, H heads, G heads of keys and values, D width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pylm import native_kernels
from pylm.checkpoint import Weights
from pylm.generation import torch_branches
from pylm.generation.branches import Branches, Scored
from pylm.generation.cached_engine import CachedEngine
from pylm.generation.engine import Cache, Logits
from pylm.model.torch import Model, load

__all__ = ["TorchCache", "TorchEngine", "Uncached", "UncachedEngine"]

DECODE_DIM = 256  # the widest head that the C++ attention takes


class TorchCache:
    """Keys and values of some sequences, [B, S, G, D] a layer, and what the model asks in a forward pass.

    A token's keys and values never change once they are computed, for it sees nothing that comes later: kept, a new
    token costs one row of every product instead of all of them. What grows is the reading: each new token reads the
    whole cache once. So on a CPU the C++ kernel reads it where it lies, G heads for H queries and only as far as each
    row is filled (19.9 times as fast as torch's attention in bf16 on two threads); torch's wants heads repeated
    and one length for all rows, with a mask over the rest.
    """

    def __init__(self, model: Model, rows: int, capacity: int) -> None:
        """Allocate zeros, which cost nothing until they are written, and which a mask may multiply."""
        shape = model.shape
        assert shape.n_layers and shape.n_kv_heads and shape.head_dim
        weight = next(model.parameters())
        size = (rows, capacity, shape.n_kv_heads, shape.head_dim)
        self.capacity = capacity
        self.ids: list[list[int]] = [[] for _ in range(rows)]
        self._keys = [torch.zeros(size, dtype=weight.dtype, device=weight.device) for _ in range(shape.n_layers)]
        self._values = [torch.zeros(size, dtype=weight.dtype, device=weight.device) for _ in range(shape.n_layers)]
        self._row: int | None = None  # the row of a prefill; None while all rows decode
        self._every = False
        self._starts: list[int] = []
        self._seen: torch.Tensor | None = None

    def truncate(self, row: int, length: int) -> None:
        """Forget what follows the first `length` tokens of a row."""
        del self.ids[row][length:]

    def copy(self, source: int, target: int) -> None:
        """Make one row a copy of another."""
        length = len(self.ids[source])
        for tensor in (*self._keys, *self._values):
            tensor[target, :length] = tensor[source, :length]
        self.ids[target] = list(self.ids[source])

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, which move up in this order."""
        index = torch.tensor(list(rows), device=self._keys[0].device)
        self._keys = [tensor[index] for tensor in self._keys]
        self._values = [tensor[index] for tensor in self._values]
        self.ids = [self.ids[row] for row in rows]

    def begin(self, row: int | None, every: bool = False) -> None:
        """Say what the next forward pass appends to: one row, or every row.

        With `every`, it gives logits of all tokens.
        """
        self._row, self._every = row, every
        self._starts = [len(ids) for ids in self.ids] if row is None else [len(self.ids[row])]
        self._seen = None

    def kept(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return the keys and values of the only row, [S, G, D] each, a pair a layer."""
        held = len(self.ids[0])
        return [(keys[0, :held], values[0, :held]) for keys, values in zip(self._keys, self._values, strict=True)]

    def positions(self, idx: torch.Tensor) -> torch.Tensor:
        """Return where each new token stands, [B, T]."""
        starts = torch.tensor(self._starts, device=idx.device)
        return starts[:, None] + torch.arange(idx.shape[1], device=idx.device)

    def attend(
        self,
        layer: int,
        q_BTHD: torch.Tensor,
        k_BTGD: torch.Tensor,
        v_BTGD: torch.Tensor,
        *,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
    ) -> torch.Tensor:
        """Store the new keys and values, and return the attention of the new queries to all that is there."""
        new = q_BTHD.shape[1]
        keys, values = self._store(layer, k_BTGD, v_BTGD)
        plain = window is None and softcap is None
        if plain and new == 1 and q_BTHD.device.type == "cpu" and q_BTHD.shape[3] <= DECODE_DIM:
            lengths = [start + 1 for start in self._starts]
            return native_kernels.decode_attention(q_BTHD[:, 0], keys, values, lengths, scale)[:, None]
        seen = max(self._starts) + new
        q, k, v = (x.transpose(1, 2) for x in (q_BTHD, keys[:, :seen], values[:, :seen]))
        share = q.shape[1] // k.shape[1]
        if share > 1:
            k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
        if softcap is None:
            # one row's next token sees everything; a first chunk is best left to the kernel's own causal mask
            alike = window is None and len(set(self._starts)) == 1
            first = alike and new > 1 and self._starts[0] == 0
            mask = None if first or (alike and new == 1) else self._mask(new, seen, window)
            mixed = torch.nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=first, scale=scale
            )
        else:
            scores = softcap * torch.tanh((q.float() @ k.float().transpose(-1, -2)) * (scale / softcap))
            hidden = ~self._mask(new, seen, window)
            mixed = (torch.softmax(scores.masked_fill(hidden, float("-inf")), -1) @ v.float()).to(v.dtype)
        return mixed.transpose(1, 2)

    def last(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the states that become logits: each row's last, or all of the only row."""
        return hidden[0] if self._every else hidden[:, -1]

    def _store(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new keys and values behind the old ones, and return the rows of this pass."""
        keys, values = self._keys[layer], self._values[layer]
        if self._row is not None:
            rows = slice(self._row, self._row + 1)
            start, stop = self._starts[0], self._starts[0] + k.shape[1]
            keys[rows, start:stop], values[rows, start:stop] = k, v
            return keys[rows], values[rows]
        for row, start in enumerate(self._starts):
            keys[row, start], values[row, start] = k[row, 0], v[row, 0]
        return keys, values

    def _mask(self, new: int, seen: int, window: int | None) -> torch.Tensor:
        """Return what each query sees, [B, 1, T, S]; it is made once a pass."""
        if self._seen is None:
            device = self._keys[0].device
            query = torch.tensor(self._starts, device=device)[:, None, None] + torch.arange(new, device=device)[:, None]
            key = torch.arange(seen, device=device)
            mask = key <= query
            if window is not None:
                mask &= key > query - window
            self._seen = mask[:, None]
        return self._seen


class TorchEngine(CachedEngine):
    """A torch model with a cache."""

    def __init__(self, model: Model) -> None:
        """Take a model as it is: where it lies and in which type is where and how it computes."""
        self.model = model.eval()
        assert model.shape.vocab_size is not None
        self.context_length = model.shape.context_length
        self.vocab_size = model.shape.vocab_size

    @classmethod
    def load(cls, opened: Weights, device: str, dtype: str) -> TorchEngine:
        """Load a folder of weights, ours or Hugging Face's."""
        return cls(load(opened, device, {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]))

    @property
    def name(self) -> str:
        """Return what computes, in a few words."""
        weight = next(self.model.parameters())
        return f"torch, {weight.device.type}, {str(weight.dtype).removeprefix('torch.')}"

    def cache(self, rows: int, capacity: int) -> TorchCache:
        """Make room for so many sequences of so many tokens."""
        return TorchCache(self.model, rows, min(capacity, self.context_length))

    @torch.inference_mode()
    def score(self, branches: Branches, cache: Cache | None) -> Scored:
        """Return what targets are worth on branches of the only row, or of nothing."""
        assert cache is None or isinstance(cache, TorchCache)
        kept = [] if cache is None else cache.kept()
        return torch_branches.score(self.model, branches, kept, 0 if cache is None else len(cache.ids[0]))

    @torch.inference_mode()
    def _forward(self, rows: Sequence[Sequence[int]], cache: Cache, row: int | None, every: bool = False) -> Logits:
        assert isinstance(cache, TorchCache)
        cache.begin(row, every)
        idx = torch.tensor([list(ids) for ids in rows], device=next(self.model.parameters()).device)
        given: torch.Tensor = self.model(idx, cache=cache)
        for ids, new in zip(cache.ids if row is None else [cache.ids[row]], rows, strict=True):
            ids.extend(new)
        logits: Logits = given.float().cpu().numpy()
        return logits


class Uncached:
    """A cache of the ids alone: every token is read again for every token."""

    def __init__(self, rows: int, capacity: int) -> None:
        """Start with empty rows."""
        self.ids: list[list[int]] = [[] for _ in range(rows)]
        self.capacity = capacity

    def truncate(self, row: int, length: int) -> None:
        """Forget what follows the first `length` tokens of a row."""
        del self.ids[row][length:]

    def copy(self, source: int, target: int) -> None:
        """Make one row a copy of another."""
        self.ids[target] = list(self.ids[source])

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, which move up in this order."""
        self.ids = [self.ids[row] for row in rows]


class UncachedEngine(TorchEngine):
    """The same model without a cache, one row after another: what the cache must not change."""

    rows_at_once = 1

    def cache(self, rows: int, capacity: int) -> Uncached:  # type: ignore[override]
        """Keep the ids and nothing else."""
        return Uncached(rows, min(capacity, self.context_length))

    @torch.inference_mode()
    def _forward(self, rows: Sequence[Sequence[int]], cache: Cache, row: int | None, every: bool = False) -> Logits:
        assert isinstance(cache, Uncached)
        logits = []
        for ids, new in zip(cache.ids if row is None else [cache.ids[row]], rows, strict=True):
            ids.extend(new)
            given = self.model(torch.tensor([ids], device=next(self.model.parameters()).device))
            logits.append(given[0, -len(new) if every else -1 :])
        made: Logits = torch.cat(logits).float().cpu().numpy()
        return made
