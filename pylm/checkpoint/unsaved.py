"""The writer of checkpoints in all processes of a run but the first, which alone writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pylm.checkpoint.saver import Saver
from pylm.checkpoint.tensors import Tensor

__all__ = ["Unsaved"]


class Unsaved(Saver):
    """Has the ways of a Saver, and writes nothing."""

    def mend(self) -> None:
        """Do nothing."""

    def save(
        self,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: Mapping[str, Any],
        best: bool,
        average: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Do nothing."""

    def point_best(self, step: int) -> None:
        """Do nothing."""
