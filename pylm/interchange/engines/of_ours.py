"""Our own model in torch: fp32 on the CPU, the reference of every comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from pylm.checkpoint import open_weights
from pylm.interchange.engines.job import Numbers
from pylm.model.torch import load

__all__ = ["logits_of"]


def logits_of(folder: Path) -> Callable[[list[int]], Numbers]:
    """Return what computes the logits of every place of a sequence, [tokens, vocabulary]."""
    model = load(open_weights(folder), dtype=torch.float32).eval()

    def logits(ids: list[int]) -> Numbers:
        with torch.no_grad():
            made: Numbers = model(torch.tensor([ids]))[0].numpy()
        return made

    return logits
