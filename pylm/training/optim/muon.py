"""Muon (Jordan et al., 2024): momentum, made orthogonal, for matrices that map one hidden space to another.

The momentum of such a matrix is nearly of low rank: a few directions have most of its length, and a step along it moves
little else. Made orthogonal, with all singular values near one, the update moves every direction alike. A singular
value decomposition gives that exactly, and slowly; Newton and Schulz's iteration is matrix products alone, and four
rounds of quintics that are steep at zero (rules.QUINTICS) bring the values to between 0.7 and 1.2: near enough.

It is for the matrices of the blocks. The rows of an embedding are looked up, and their gradient is no map of a space to
another; the head's likewise, row by row; vectors have no directions to balance: all these are AdamW's (groups.py).
Queries, keys and values lie in one matrix but are three maps, and each is orthogonalised by itself (rules.rows_of).

The size of an update is that of AdamW's (Liu et al., 2025: 0.2 √max(rows, columns)), so one learning rate serves both.
Where a processor multiplies bf16, C++ takes the whole step of a matrix that its caches hold, one thread a matrix: it
saves a third of the symmetric products and touches memory twice. Elsewhere matrices of a shape are orthogonalised
together: at 384 x 384 that is no faster, at 128 x 128 three times. Groups depend on names alone, so that any machine
may take any share of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import torch

from pylm import native_kernels
from pylm.training.optim.groups import Group
from pylm.training.optim.rules import AT_ONCE, QUINTICS, momentum_of, rows_of, size_of

__all__ = ["Muon", "orthogonal"]

CACHED = 1 << 20  # elements of the largest matrix whose operands a core's own cache holds, nearly


class Muon:
    """The momentum of every matrix of its groups."""

    def __init__(self, groups: Sequence[Group], parameters: Mapping[str, torch.Tensor]):
        """Begin with a momentum of zero."""
        self.groups = groups
        self.parameters = {name: parameters[name] for group in groups for name in group.names}
        self.momentum = {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}
        self.native = frozenset(name for name, parameter in self.parameters.items() if _serves(name, parameter))

    def state(self) -> dict[str, torch.Tensor]:
        """Return the momentum by name."""
        return {f"momentum.{name}": momentum for name, momentum in self.momentum.items()}

    def step(
        self,
        gradients: Mapping[str, torch.Tensor],
        lr: float,
        step: int,
        scale: float,
        copies: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Step all groups; gradients are multiplied by `scale` first. Only `native` ones have their copies written."""
        beta = momentum_of(step)
        for group in self.groups:
            self._step_native(group, gradients, lr, beta, scale, copies or {})
            shapes: dict[torch.Size, list[tuple[torch.Tensor, torch.Tensor]]] = {}
            for name in group.names:
                if name in self.native:
                    continue
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

    def _step_native(
        self,
        group: Group,
        gradients: Mapping[str, torch.Tensor],
        lr: float,
        beta: float,
        scale: float,
        copies: Mapping[str, torch.Tensor],
    ) -> None:
        rate, tensors = lr * group.rate, []
        for name in group.names:
            if name in self.native:
                parameter = self.parameters[name]
                parts = [(rows, rate * size_of(rows, parameter.shape[1])) for rows in rows_of(name, *parameter.shape)]
                gradient = gradients[name]
                gradient = (gradient if gradient.dtype == torch.bfloat16 else gradient.float()).contiguous()
                tensors.append((parameter, gradient, self.momentum[name], copies.get(name), parts))
        if tensors:
            native_kernels.muon(tensors, quintics=QUINTICS, scale=scale, beta=beta, keep=1 - rate * group.decay)


def _serves(name: str, parameter: torch.Tensor) -> bool:
    """Return whether C++ steps a matrix: by what it is and where, whatever the number of threads."""
    return (
        os.environ.get("PYLM_KERNELS", "") in ("", "auto", "cpu")
        and parameter.is_cpu
        and parameter.dtype == torch.float32
        and parameter.is_contiguous()
        and _has_fast_bf16(parameter.device)
        and native_kernels.has_muon()
        and parameter.shape[1] % 16 == 0
        and all(rows % 16 == 0 and 0 < rows * parameter.shape[1] <= CACHED for rows in rows_of(name, *parameter.shape))
    )


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Return the nearest matrices [N, rows, columns] with singular values near one, by Newton and Schulz's iteration.

    In bfloat16 where that makes products faster (24 matrices of 384 x 384 take 156 ms instead of 530 with AVX512-BF16):
    each round starts from what the last one left, so the iteration mends its own rounding.
    """
    tall = matrices.shape[1] > matrices.shape[2]  # x xᵀ is then the larger of the two squares: work on the transpose
    x = matrices.mT if tall else matrices
    narrow = x.dtype == torch.float32 and _has_fast_bf16(x.device)
    x = (x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)).to(torch.bfloat16 if narrow else x.dtype)
    # divided by the norm, no singular value is above one; a round is x <- a x + (b x xᵀ + c (x xᵀ)²) x, which takes
    # each of them through the quintic, and that keeps what is below 1.2 below about 1.2
    for a, b, c in QUINTICS:
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and not {"avx512_bf16", "amx_bf16"}.isdisjoint(
        map(str, native_kernels.cpu_info()["features"])
    )
