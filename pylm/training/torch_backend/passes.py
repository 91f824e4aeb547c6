"""How the passes of a step come together: their shares of the loss, their sum, and the mean that it is.

One process has all of a step. Where several share it (parallel.py), or the order of every sum is fixed (`Tree`),
others of these stand in their place, and the backend knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pylm.training.backend import MicroBatch, shares_of

__all__ = ["Passes", "Sums", "Tree"]

Gradients = dict[str, torch.Tensor]


class Sums:
    """Gradients of passes, added up in fp32: in bf16, small ones would be lost beside the sum."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._sums: Gradients = {}

    def add(self, gradients: Mapping[str, torch.Tensor]) -> None:
        """Add those of a pass, which nobody else holds."""
        for name, one in gradients.items():
            if name in self._sums:
                self._sums[name] += one
            else:
                self._sums[name] = one.float()

    def total(self) -> Gradients:
        """Return the sum; nothing where nothing was added."""
        return self._sums

    def clear(self) -> None:
        """Forget them."""
        self._sums = {}


class Tree(Sums):
    """The same as a binary tree over the passes in their order: pairs, then pairs of pairs.

    It is kept as a binary counter, so no more sums are held at once than the number of passes has digits.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self._levels: list[Gradients | None] = []

    def add(self, gradients: Mapping[str, torch.Tensor]) -> None:
        """Add those of a pass: sums of equally many passes become one, as ones carry in a counter."""
        carried = {name: one.float() for name, one in gradients.items()}
        for level, held in enumerate(self._levels):
            if held is None:
                self._levels[level] = carried
                return
            carried = {name: held[name].add_(one) for name, one in carried.items()}
            self._levels[level] = None
        self._levels.append(carried)

    def total(self) -> Gradients:
        """Return the sum of what are a power of two of passes."""
        if not self._levels:
            return {}
        *below, top = self._levels
        assert top is not None and not any(below), "the passes of a step are a power of two"
        return top

    def clear(self) -> None:
        """Forget them."""
        self._levels = []


class Passes:
    """Those of a process that has a step to itself."""

    def __init__(self, sums: Sums | None = None) -> None:
        """Take what gradients are added up by; their plain sum unless given."""
        self.sums = sums or Sums()

    def apart(self, count: int, narrow: bool) -> bool:
        """Return whether so many passes are added up apart from `.grad`, which is of what is computed in."""
        return narrow and count > 1

    def shares(self, micro_batches: Sequence[MicroBatch]) -> list[float]:
        """Return what the mean loss of each pass is multiplied by, as the passes begin."""
        return shares_of(micro_batches)

    def mean(self, losses: Sequence[torch.Tensor]) -> tuple[float, float]:
        """Return the mean loss of the step, and what its gradients are to be multiplied by."""
        return float(sum(losses[1:], losses[0])), 1.0

    def margins(self, parts: Sequence[torch.Tensor]) -> Any:
        """Return the margins of all pairs of a step as an array; None where there are none."""
        return torch.cat(list(parts)).float().cpu().numpy() if parts else None
