"""The loss of pairs of answers in torch."""

from __future__ import annotations

import numpy as np
import torch

from pylm.training.backend import MicroBatch, answers_of

__all__ = ["margins_of"]


def margins_of(losses: torch.Tensor, part: MicroBatch, beta: float) -> torch.Tensor:
    """Return of each pair how much more it is preferred than by the reference, times beta.

    Args:
        losses: of each target, flat, 0 where it does not count.
        part: whose they are, with its reference.
        beta: how far from the reference a model may go, the less the larger.
    """
    answers = answers_of(part)
    # sums of hundreds of log-probabilities, whose differences are small; Metal has no float64
    wide = torch.float32 if losses.device.type == "mps" else torch.float64
    lengths = np.diff(part.cu_seqlens).tolist()
    # split, not sliced: the gradient of each slice would be as long as all of them
    documents = dict(zip(part.cu_seqlens.tolist(), torch.split(losses, lengths), strict=False))
    sums = torch.stack([-documents[start].sum(dtype=wide) for start, _ in answers])
    given = part.reference.reshape(-1)[[start for start, _ in answers]]
    away = (sums - torch.from_numpy(given).to(losses.device, wide)).view(-1, 2)
    return beta * (away[:, 0] - away[:, 1])
