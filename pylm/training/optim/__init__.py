"""Optimizers: AdamW, and Muon with AdamW for what is no hidden matrix; one clip, one learning rate a group.

optimizer = build(model.weights().items(), config.train, copies)
norm = optimizer.step(lr, gradients)        # not finite: nothing was changed
optimizer.load(optimizer.state())           # tensors by name, restored to the bit
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pylm.config.schema import Train

if TYPE_CHECKING:
    import torch

    from pylm.training.optim.optimizer import Optimizer

__all__ = ["build"]


def build(
    parameters: Iterable[tuple[str, torch.Tensor]],
    train: Train,
    copies: Mapping[str, torch.Tensor] | None = None,
) -> Optimizer:
    """Make the optimizer that the configuration names.

    Args:
        parameters: fp32 masters by our names, which steps change in place.
        train: the optimizer, its rates, decay and clip.
        copies: the same in what is computed in; each step writes them anew from the masters.
    """
    from pylm.training.optim.optimizer import Optimizer

    return Optimizer(dict(parameters), train, dict(copies or {}))
