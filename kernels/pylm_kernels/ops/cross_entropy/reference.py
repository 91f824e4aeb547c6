"""The meaning of cross_entropy, in plain torch."""

from __future__ import annotations

import torch


def cross_entropy(
    logits_NV: torch.Tensor, targets_N: torch.Tensor, softcap: float, ignore_index: int, z_loss: float
) -> torch.Tensor:
    """Return the loss of each row in float32 (float64 for float64), 0 where ignored.

    The loss is lse - logit of the target + z_loss · lse².
    """
    logits = logits_NV.to(torch.float64 if logits_NV.dtype == torch.float64 else torch.float32)
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    counts = targets_N != ignore_index
    lse = torch.logsumexp(logits, -1)
    target = logits.gather(-1, torch.where(counts, targets_N, 0)[:, None])[:, 0]
    return torch.where(counts, lse - target + z_loss * lse.square(), 0.0)


def reduced(losses_N: torch.Tensor, targets_N: torch.Tensor, ignore_index: int, reduction: str) -> torch.Tensor:
    """Return the mean over the rows that count (0 when none does), their sum, or the rows."""
    if reduction == "none":
        return losses_N
    total = losses_N.sum()
    return total if reduction == "sum" else total / (targets_N != ignore_index).sum().clamp(min=1)
