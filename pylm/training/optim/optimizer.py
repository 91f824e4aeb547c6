"""One step over all groups: the norm, the clip, the rules, and the copies that the model computes with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import Protocol

import torch

from pylm import native_kernels
from pylm.config.schema import Train
from pylm.training.optim.adamw import NATIVE_GRADIENTS, AdamW
from pylm.training.optim.groups import Group, groups
from pylm.training.optim.muon import Muon
from pylm.training.optim.rules import STEP, misfit

__all__ = ["Optimizer", "Steps", "gradient_norm"]


class Steps(Protocol):
    """What takes a backend's steps: an Optimizer, or several that share one."""

    parameters: dict[str, torch.Tensor]
    copies: dict[str, torch.Tensor]
    groups: list[Group]

    def step(self, lr: float, gradients: Mapping[str, torch.Tensor], *, grad_scale: float = 1.0) -> float:
        """Take a step, and return the norm of the gradients."""
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """Return what a resume needs, by name."""
        ...

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take what `state` gave."""
        ...


class Optimizer:
    """Changes the masters in place, and the copies after them."""

    def __init__(
        self,
        parameters: dict[str, torch.Tensor],
        train: Train,
        copies: dict[str, torch.Tensor],
        sorted_into: Sequence[Group] | None = None,
    ) -> None:
        """Sort the parameters into groups, unless somebody has, and begin at step 0."""
        self.parameters, self.copies = parameters, copies
        self.clip, self.steps = train.grad_clip, 0
        self.groups = groups(parameters, train) if sorted_into is None else list(sorted_into)
        self._adamw = AdamW([group for group in self.groups if group.rule == "adamw"], parameters, train.betas)
        self._muon = Muon([group for group in self.groups if group.rule == "muon"], parameters)

    @torch.no_grad()
    def step(self, lr: float, gradients: Mapping[str, torch.Tensor] | None = None, *, grad_scale: float = 1.0) -> float:
        """Take a step.

        Args:
            lr: the schedule's learning rate; each group takes its share of it.
            gradients: of every parameter, fp32 or in what was computed in; the `.grad` of the parameters where None.
            grad_scale: what they are multiplied by first, such as one over the loss's scale.

        Returns:
            The norm of all gradients before the clip. Where it is not finite, nothing was changed.
        """
        if gradients is None:
            gradients = {
                name: parameter.grad for name, parameter in self.parameters.items() if parameter.grad is not None
            }
        if missing := self.parameters.keys() - gradients.keys():
            raise ValueError(f"{min(missing)} has no gradient")
        adamw, copies = self._adamw, self._native_copies()
        if adamw.takes(gradients) and not self._muon.groups and len({group.rate for group in adamw.groups}) == 1:
            # one pass finds the norm and one does the rest, clip and copies with it
            norm = adamw.step_native(gradients, copies, lr, self.steps + 1, grad_scale, self.clip, adamw.groups)
            if math.isfinite(norm):
                self._count(adamw.parameters.keys() & copies.keys())
            return norm
        norm = gradient_norm(gradients) * abs(grad_scale)
        if math.isfinite(norm):
            self.apply(lr, gradients, grad_scale * min(1.0, self.clip / (norm + 1e-6)) if self.clip else grad_scale)
        return norm

    def apply(self, lr: float, gradients: Mapping[str, torch.Tensor], scale: float) -> None:
        """Take a step by the rules alone; gradients are multiplied by `scale`, which has the clip in it."""
        adamw, copies, step = self._adamw, self._native_copies(), self.steps + 1
        self._muon.step(gradients, lr, step, scale, copies)
        if native := adamw.takes(gradients):
            for group in adamw.groups:
                adamw.step_native(gradients, copies, lr, step, scale, 0.0, [group])
        else:
            adamw.step_torch(gradients, lr, step, scale)
        self._count((self._muon.native | (adamw.parameters.keys() if native else set())) & copies.keys())

    def _count(self, written: Set[str]) -> None:
        """Count a step, and write the copies that its rules have not."""
        left = self.copies.keys() - written
        if left:
            to, fro = [self.copies[name] for name in left], [self.parameters[name] for name in left]
            torch._foreach_copy_(to, fro)  # pyright: ignore[reportPrivateImportUsage]
        self.steps += 1

    def state(self) -> dict[str, torch.Tensor]:
        """Return what a resume needs, by name, sharing memory."""
        return {STEP: torch.tensor(self.steps), **self._moments()}

    @torch.no_grad()
    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take what `state` gave."""
        moments = self._moments()
        misfit({name: tuple(one.shape) for name, one in moments.items()}, state)
        for name, moment in moments.items():
            moment.copy_(state[name])
        self.steps = int(state[STEP])

    def _moments(self) -> dict[str, torch.Tensor]:
        return {**self._adamw.state(), **self._muon.state()}

    def _native_copies(self) -> dict[str, torch.Tensor]:
        """Return the copies that the C++ pass writes."""
        return {
            name: copy
            for name, copy in self.copies.items()
            if copy.is_cpu and copy.dtype == torch.bfloat16 and copy.is_contiguous()
        }


def gradient_norm(gradients: Mapping[str, torch.Tensor]) -> float:
    """Return the root of the sum of all squares, summed in fp32 whatever the gradients are."""
    tensors = list(gradients.values())
    if all(one.is_cpu and one.dtype in NATIVE_GRADIENTS and one.is_contiguous() for one in tensors):
        return native_kernels.norm_of(tensors)
    summed_in = torch.float64 if tensors[0].dtype == torch.float64 else torch.float32
    norms = torch._foreach_norm(tensors, 2, dtype=summed_in)  # pyright: ignore[reportPrivateImportUsage]
    return float(torch.linalg.vector_norm(torch.stack(norms)))
