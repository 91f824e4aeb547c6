"""Caches of keys and values as callers give them, and the lengths that say how much of each row is filled."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import torch

from pylm_kernels import arguments, transforms
from pylm_kernels.operands.heads import Heads


class Cache(NamedTuple):
    """Caches of keys and values, [B, S, kv heads, D] by strides, and how many positions of each row are filled."""

    k: torch.Tensor
    v: torch.Tensor
    lengths: torch.Tensor

    def write(self, k: torch.Tensor, v: torch.Tensor) -> None:
        """Write new keys and values [B, T, kv heads, D] behind the filled ones of each row."""
        rows = torch.arange(self.k.shape[0], device=self.k.device)[:, None]
        places = positions_of(self.lengths, k.shape[1]).long()
        self.k[rows, places], self.v[rows, places] = k, v


CACHE = "Tensor(a!) k_cache, Tensor(b!) v_cache, Tensor lengths"  # in the notation of torch.library


def problem(k_cache: torch.Tensor, v_cache: torch.Tensor, lengths: torch.Tensor, heads: Heads) -> str:
    """Return an empty string if caches and lengths fit these heads, else a sentence that says what is wrong.

    Both caches have to be [B, S, kv heads, D] like the heads, and lengths has to hold B integers.
    """
    if around := transforms.active():
        return f"k_cache: is written in place, which {around} cannot follow"
    b, _, _, d = heads.q.shape
    for name, cache in (("k_cache", k_cache), ("v_cache", v_cache)):
        shape = tuple(int(n) for n in cache.shape)
        if cache.dim() != 4 or (shape[0], shape[2], shape[3]) != (b, heads.n_kv_heads, d):
            return f"{name}: shape {shape} must be (batch {b}, capacity, kv heads {heads.n_kv_heads}, head_dim {d})"
        if cache.dtype != heads.q.dtype:
            return f"{name}: dtype {cache.dtype} differs from q's {heads.q.dtype}; keep the cache in the model's dtype"
        if cache.stride(3) != 1:
            return f"{name}: the dimensions of one head must lie next to each other"
        if cache.requires_grad:
            return f"{name}: requires a gradient; a cache is written in place and gives none"
        if wrong := arguments.same_device(name, cache, "q", heads.q):
            return wrong
    if k_cache.shape != v_cache.shape:
        return f"v_cache: holds {v_cache.shape[1]} positions, k_cache {k_cache.shape[1]}"
    if lengths.dim() != 1 or lengths.shape[0] != b or lengths.dtype not in (torch.int32, torch.int64):
        return f"lengths: must be {b} integers, how many positions of each row of the cache are filled"
    return arguments.same_device("lengths", lengths, "q", heads.q)


def gradients(tensors: dict[str, torch.Tensor | None]) -> str:
    """Return a sentence where autograd would have to pass, else an empty string.

    What writes a cache has no gradient.
    """
    if not torch.is_grad_enabled():
        return ""
    for name, x in tensors.items():
        if x is not None and x.requires_grad:
            return f"{name}: requires a gradient, and what writes a cache has none; call it under torch.no_grad()"
    return ""


_last: list[Any] = [None, None]


def check(lengths: torch.Tensor, new: int, capacity: int, last: int | None) -> None:
    """Raise ValueError unless the new positions of every row fit the cache and, where given, the angles' table.

    On a CPU they are read each time. Reading them from a GPU waits for it, and every layer of a model asks about one
    tensor, so there a tensor that nobody is known to have written to is not read again. No result depends on that: it
    spares this check alone, as a CUDA graph does, and then the kernel writes nothing outside a cache.

    Args:
        lengths: how many positions of each row are filled.
        new: how many positions are added to each row.
        capacity: the number of positions that the cache holds.
        last: how many positions the table of angles holds past the first; None where it is not asked.
    """
    if not transforms.readable(lengths):
        return
    version = None if lengths.is_inference() or not lengths.is_cuda else lengths._version
    key = (version, new, capacity, last)
    if version is not None and _last[0] is not None and _last[0]() is lengths and _last[1] == key:
        return
    for row, length in enumerate(lengths.tolist()):
        if length < 0 or length + new > capacity:
            raise ValueError(f"lengths: row {row} has {length} positions and gets {new}; the cache holds {capacity}")
        if last is not None and length + new > last:
            raise ValueError(f"rope: row {row} reaches position {length + new - 1} of {last}; raise max_positions")
    _last[:] = [weakref.ref(lengths), key]


def positions_of(lengths: torch.Tensor, new: int) -> torch.Tensor:
    """Return the positions that the new tokens of each row get, [B, new] int32."""
    count = torch.arange(new, dtype=torch.int32, device=lengths.device)
    return lengths.to(torch.int32)[:, None] + count
