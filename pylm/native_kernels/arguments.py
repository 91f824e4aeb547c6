"""What every call of a C++ kernel gives along."""

from __future__ import annotations

import torch

Some = torch.Tensor | None


def threads() -> int:
    """Return how many threads the kernels run on: as many as torch does."""
    return torch.get_num_threads()


def wide(vector: torch.Tensor | None) -> torch.Tensor | None:
    """Return a weight or bias in the kernels' float32."""
    return None if vector is None else vector.detach().float().contiguous()


def whole(x: torch.Tensor | None) -> torch.Tensor | None:
    """Return the tensor without gaps; the caller holds the result, or its memory is gone before the kernel reads it."""
    return None if x is None else x.contiguous()


def side_by_side(x: torch.Tensor) -> torch.Tensor:
    """Return the tensor with the elements of its last dimension side by side."""
    return x if x.stride(-1) == 1 else x.contiguous()
