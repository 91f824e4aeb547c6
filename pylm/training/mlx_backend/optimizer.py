"""AdamW and Muon in MLX: the groups, rules and figures of pylm.training.optim, as a pure function of arrays.

A step whose gradients are not finite leaves everything as it is, inside the function: nobody waits for the device to
find that out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import mlx.core as mx

from pylm.config.schema import Train
from pylm.training.optim.groups import Group, groups
from pylm.training.optim.rules import AT_ONCE, EPSILON, QUINTICS, momentum_of, rows_of, size_of

__all__ = ["Optimizer", "orthogonal"]

Arrays = dict[str, Any]


class Optimizer:
    """How a step changes masters and moments; it holds neither."""

    def __init__(self, masters: Mapping[str, Any], train: Train) -> None:
        """Sort the parameters into groups."""
        self.train, self.groups = train, groups(masters, train)

    def fresh(self, masters: Mapping[str, Any]) -> Arrays:
        """Return moments of zero, by the names that a checkpoint has them under."""
        moments = {}
        for group in self.groups:
            kinds = ("momentum",) if group.rule == "muon" else ("first", "second")
            moments.update({f"{kind}.{name}": mx.zeros_like(masters[name]) for kind in kinds for name in group.names})
        return moments

    def scalars(self, lr: float, step: int, grad_scale: float) -> Any:
        """Return what changes from step to step, for `step`: as numbers it would be compiled anew.

        Args:
            lr: the schedule's learning rate.
            step: counted from 1.
            grad_scale: what gradients are multiplied by first.
        """
        first, second = (1 - beta**step for beta in self.train.betas)
        return mx.array([lr, first, math.sqrt(second), momentum_of(step), grad_scale], mx.float32)

    def step(self, masters: Arrays, moments: Arrays, gradients: Arrays, scalars: Any) -> tuple[Arrays, Arrays, Any]:
        """Return the masters and moments after a step, and the norm of all gradients before the clip."""
        lr, first, second, momentum, grad_scale = (scalars[number] for number in range(5))
        wide = {name: gradient.astype(mx.float32) for name, gradient in gradients.items()}
        squares: Any = sum(mx.square(gradient).sum() for gradient in wide.values())
        norm = mx.sqrt(squares) * grad_scale
        finite = mx.isfinite(norm)
        scale = grad_scale
        if self.train.grad_clip:
            scale = scale * mx.minimum(1.0, self.train.grad_clip / (norm + 1e-6))
        # what is not finite would stay so times zero: it is left out before it is used
        scaled = {name: mx.where(finite, gradient * scale, 0.0) for name, gradient in wide.items()}
        new_masters, new_moments = dict(masters), dict(moments)
        for group in self.groups:
            if group.rule == "muon":
                self._muon(group, new_masters, new_moments, scaled, lr * group.rate, momentum)
            else:
                self._adamw(group, new_masters, new_moments, scaled, lr * group.rate, first, second)
        kept = [{name: mx.where(finite, one[name], other[name]) for name in other}
                for one, other in ((new_masters, masters), (new_moments, moments))]  # fmt: skip
        return kept[0], kept[1], norm

    def _adamw(
        self, group: Group, masters: Arrays, moments: Arrays, gradients: Arrays, lr: Any, first: Any, second: Any
    ) -> None:
        """Step a group; `first` and `second` correct the moments' start at zero."""
        one, other = self.train.betas
        for name in group.names:
            gradient = gradients[name]
            m = one * moments[f"first.{name}"] + (1 - one) * gradient
            v = other * moments[f"second.{name}"] + (1 - other) * mx.square(gradient)
            moments[f"first.{name}"], moments[f"second.{name}"] = m, v
            moved = (lr / first) * m / (mx.sqrt(v) / second + EPSILON)
            masters[name] = masters[name] * (1 - lr * group.decay) - moved

    def _muon(
        self, group: Group, masters: Arrays, moments: Arrays, gradients: Arrays, rate: Any, momentum: Any
    ) -> None:
        """Step a group; matrices of a shape are orthogonalised together."""
        shapes: dict[tuple[int, ...], list[tuple[str, int, Any]]] = {}
        for name in group.names:
            gradient, mean = gradients[name], moments[f"momentum.{name}"]
            mean = mean + (1 - momentum) * (gradient - mean)
            moments[f"momentum.{name}"] = mean
            ahead, start = gradient + momentum * (mean - gradient), 0  # Nesterov's look ahead
            for number, rows in enumerate(rows_of(name, *ahead.shape)):
                part = ahead[start : start + rows]
                shapes.setdefault(part.shape, []).append((name, number, part))
                start += rows
        updates: dict[str, dict[int, Any]] = {name: {} for name in group.names}
        for shape, parts in shapes.items():
            length = max(AT_ONCE // math.prod(shape), 1)
            for first in range(0, len(parts), length):
                share = parts[first : first + length]
                scaled = orthogonal(mx.stack([part for _, _, part in share])) * size_of(*shape)
                for place, (name, number, _) in enumerate(share):
                    updates[name][number] = scaled[place]
        for name, maps in updates.items():
            update = mx.concatenate([maps[number] for number in sorted(maps)])
            masters[name] = masters[name] * (1 - rate * group.decay) - rate * update


def orthogonal(matrices: Any) -> Any:
    """Return the nearest matrices [N, rows, columns] with singular values near one; see pylm.training.optim.muon."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.swapaxes(1, 2) if tall else matrices
    x = x / (mx.sqrt(mx.square(x).sum((1, 2), keepdims=True)) + 1e-7)
    for a, b, c in QUINTICS:
        square = x @ x.swapaxes(1, 2)
        x = a * x + (b * square + c * (square @ square)) @ x
    return x.swapaxes(1, 2) if tall else x
