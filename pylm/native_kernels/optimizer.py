"""AdamW and Muon, which pylm's optimizer calls by itself: pylm_kernels has no such operations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from pylm import _native
from pylm.native_kernels.arguments import threads


def adamw(
    tensors: Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, float]],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    clip: float,
    step: int,
    grad_scale: float = 1.0,
) -> float:
    """Take one AdamW step in place, the clip folded in, and return the norm of the gradients before it.

    Args:
        tensors: (parameter, gradient, first moment, second moment, bf16 copy of the parameter or None, decay); all of
            the first four fp32, or all bf16, or fp32 with a bf16 gradient; contiguous.
        lr: the learning rate.
        betas: of the moments.
        eps: added to the root of the second moment.
        clip: the highest norm of all gradients together; 0 for none.
        step: counted from 1.
        grad_scale: what the gradients are multiplied by first, such as one over the loss scale.

    Returns:
        The norm; where it is not finite, nothing was changed.
    """
    return _native.adamw(
        list(tensors),
        lr=lr,
        beta1=betas[0],
        beta2=betas[1],
        eps=eps,
        clip=clip,
        step=step,
        grad_scale=grad_scale,
        threads=threads(),
    )


def muon(
    tensors: Iterable[
        tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, Sequence[tuple[int, float]]]
    ],
    *,
    quintics: Sequence[tuple[float, float, float]],
    scale: float,
    beta: float,
    keep: float,
) -> None:
    """Take one Muon step in place; `_native.has_muon()` says whether this processor has it.

    Args:
        tensors: (parameter, gradient, momentum, bf16 copy of the parameter or None, its matrices as pairs of rows and
            what the orthogonal update is multiplied by); the gradient fp32 or bf16, all else fp32; contiguous, of sizes
            that are multiples of 16.
        quintics: the coefficients of each round of the iteration.
        scale: what the gradients are multiplied by first.
        beta: the momentum's share of itself.
        keep: what the parameters are multiplied by, less than 1 where they decay.
    """
    _native.muon(list(tensors), quintics=quintics, scale=scale, beta=beta, keep=keep, threads=threads())


def norm_of(tensors: Sequence[torch.Tensor]) -> float:
    """Return the root of the sum of the squares of all elements, which are fp32 or bf16 and contiguous."""
    return _native.norm_of(tensors, threads())
