"""Muon (Jordan et al., 2024): momentum, made orthogonal, for matrices that map one hidden space to another.

The momentum of such a matrix is nearly of low rank: a few directions have most of its length, and a step along it moves
little else. Made orthogonal, with all singular values near one, the update moves every direction alike. A singular
value decomposition gives that exactly, and slowly; Newton and Schulz's iteration is matrix products alone, and five
rounds of a quintic that is steep at zero (rules.QUINTIC) bring the values to between 0.7 and 1.2, which is near enough.

It is for the matrices of the blocks. The rows of an embedding are looked up, and their gradient is no map of a space to
another; the head's likewise, row by row; vectors have no directions to balance: all these are AdamW's (groups.py).
Queries, keys and values lie in one matrix but are three maps, and each is orthogonalised by itself (rules.rows_of).

The size of an update is that of AdamW's (Liu et al., 2025: 0.2 √max(rows, columns)), so one learning rate serves both.
Matrices of a shape are orthogonalised together: at 384 x 384 that is no faster, at 128 x 128 three times. Groups depend
on names alone, so that any machine may take any share of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from pylm import native_kernels
from pylm.training.optim.groups import Group
from pylm.training.optim.rules import AT_ONCE, QUINTIC, ROUNDS, momentum_of, rows_of, size_of

__all__ = ["Muon", "orthogonal"]


class Muon:
    """The momentum of every matrix of its groups."""

    def __init__(self, groups: Sequence[Group], parameters: Mapping[str, torch.Tensor]):
        """Begin with a momentum of zero."""
        self.groups = groups
        self.parameters = {name: parameters[name] for group in groups for name in group.names}
        self.momentum = {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}

    def state(self) -> dict[str, torch.Tensor]:
        """Return the momentum by name."""
        return {f"momentum.{name}": momentum for name, momentum in self.momentum.items()}

    def step(self, gradients: Mapping[str, torch.Tensor], lr: float, step: int, scale: float) -> None:
        """Step all groups; gradients are multiplied by `scale` first."""
        beta = momentum_of(step)
        for group in self.groups:
            shapes: dict[torch.Size, list[tuple[torch.Tensor, torch.Tensor]]] = {}
            for name in group.names:
                parameter, momentum = self.parameters[name], self.momentum[name]
                gradient = gradients[name].to(momentum.dtype) * scale
                momentum.lerp_(gradient, 1 - beta)
                gradient.lerp_(momentum, beta)  # Nesterov's look ahead
                parts = rows_of(name, *parameter.shape)
                for rows, update in zip(torch.split(parameter, parts), torch.split(gradient, parts), strict=True):
                    shapes.setdefault(rows.shape, []).append((rows, update))
            rate = lr * group.rate
            for shape, pairs in shapes.items():
                length = max(AT_ONCE // shape.numel(), 1)
                for first in range(0, len(pairs), length):
                    share = pairs[first : first + length]
                    updates = orthogonal(torch.stack([update for _, update in share]))
                    for (rows, _), update in zip(share, updates, strict=True):
                        rows.mul_(1 - rate * group.decay)
                        rows.add_(update.to(rows.dtype), alpha=-rate * size_of(*shape))


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Return the nearest matrices [N, rows, columns] with singular values near one, by Newton and Schulz's iteration.

    In bfloat16 where that makes products faster (24 matrices of 384 x 384 take 156 ms instead of 530 with AVX512-BF16):
    each round starts from what the last one left, so the iteration mends its own rounding.
    """
    a, b, c = QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]  # x xᵀ is then the larger of the two squares: work on the transpose
    x = matrices.mT if tall else matrices
    narrow = x.dtype == torch.float32 and _has_fast_bf16(x.device)
    x = (x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)).to(torch.bfloat16 if narrow else x.dtype)
    # divided by the norm, no singular value is above one; a round is x <- a x + (b x xᵀ + c (x xᵀ)²) x, which takes
    # each of them through the quintic, and that keeps what is below 1.2 below about 1.2
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and not {"avx512_bf16", "amx_bf16"}.isdisjoint(
        map(str, native_kernels.cpu_info()["features"])
    )
