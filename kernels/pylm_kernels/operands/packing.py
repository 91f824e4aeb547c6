"""The check of where packed documents end: plain numbers, for torch and MLX alike."""

from __future__ import annotations

from collections.abc import Sequence


def check_edges(edges: Sequence[int], total: int) -> None:
    """Raise ValueError unless cu_seqlens' numbers run from 0 to batch * time and never decrease."""
    if edges[0] != 0 or edges[-1] != total:
        raise ValueError(f"cu_seqlens: runs from {edges[0]} to {edges[-1]}; it must run from 0 to {total}")
    for number, (left, right) in enumerate(zip(edges, edges[1:], strict=False)):
        if right < left:
            raise ValueError(f"cu_seqlens: decreases from {left} to {right} at entry {number + 1}")
