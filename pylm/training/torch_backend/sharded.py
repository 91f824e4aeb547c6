"""One optimizer over several processes: gradients come together at who owns a parameter, and parameters go back to all.

Each process has the moments of its own share alone. A step is: gradients to their owners (an exchange of all with all),
summed there in the order of a binary tree over the ranks, whatever their number; the norm, over units that do not
depend on it either; the rules, each process on its share; the masters back to all. So the masters have the same bits
everywhere, and with sums of passes in a tree too (passes.Tree) the same for any power of two of processes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from pylm.config.schema import Train
from pylm.training.optim.groups import Group, groups
from pylm.training.optim.optimizer import Optimizer
from pylm.training.optim.rules import STEP, misfit
from pylm.training.torch_backend.group import Group as Processes
from pylm.training.torch_backend.owners import Piece, shares_of_parameters, units_of

__all__ = ["ShardedOptimizer"]

MOMENTS = {"adamw": ("first", "second"), "muon": ("momentum",)}  # as the rules call them


class ShardedOptimizer:
    """Has the ways of an Optimizer, and a share of its state."""

    def __init__(
        self, group: Processes, parameters: dict[str, torch.Tensor], train: Train, copies: dict[str, torch.Tensor]
    ) -> None:
        """Share the parameters out, and begin at step 0.

        Args:
            group: the processes.
            parameters: fp32 masters by our names, which steps change in place; contiguous.
            train: the optimizer, its rates, decay and clip.
            copies: the same in what is computed in.
        """
        self.group, self.parameters, self.copies, self.clip = group, parameters, copies, train.grad_clip
        self.groups = rules = groups(parameters, train)
        whole = {name for one in rules if one.rule == "muon" for name in one.names}
        shapes = {name: tuple(one.shape) for name, one in parameters.items()}
        self.shares = shares_of_parameters(shapes, rules, group.world.size)
        self.mine = self.shares[group.world.rank]
        self.sizes = [sum(piece.size for piece in share) for share in self.shares]
        # of each process, the pieces that its moments are of, with the moments' kinds
        self.moments = [
            [(piece, kind) for piece in share for kind in MOMENTS["muon" if piece.name in whole else "adamw"]]
            for share in self.shares
        ]
        own = {
            piece.name: parameters[piece.name].detach() if piece.name in whole else _flat(parameters[piece.name], piece)
            for piece in self.mine
        }
        kept = [Group(one.rule, one.rate, one.decay, tuple(filter(own.__contains__, one.names))) for one in rules]
        self.local = Optimizer(own, train, {}, [one for one in kept if one.names])

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self.local.steps

    @torch.no_grad()
    def step(self, lr: float, gradients: Mapping[str, torch.Tensor], *, grad_scale: float = 1.0) -> float:
        """Take a step together; see Optimizer.step. The gradients are this process's part of their sum."""
        summed = self._summed(gradients)
        norm = self._norm(summed) * abs(grad_scale)
        if not math.isfinite(norm):
            return norm
        scale = grad_scale * min(1.0, self.clip / (norm + 1e-6)) if self.clip else grad_scale
        self.local.apply(lr, summed, scale)
        self._give_back()
        return norm

    def state(self) -> dict[str, torch.Tensor]:
        """Return on the first process what an Optimizer's `state` would be, gathered; on the others the step alone."""
        held = self.local.state()
        own = [held[f"{kind}.{piece.name}"].flatten() for piece, kind in self.moments[self.group.world.rank]]
        sizes = [sum(piece.size for piece, _ in share) for share in self.moments]
        leads = self.group.world.leads
        state = {name: torch.empty(self.parameters[of].shape) for name, of in self._names().items() if leads}
        for share, flat in zip(self.moments, self.group.brought(_joined(own, self.parameters), sizes), strict=False):
            parts = torch.split(flat, [piece.size for piece, _ in share])
            for (piece, kind), part in zip(share, parts, strict=True):
                _flat(state[f"{kind}.{piece.name}"], piece).copy_(part)
        return {STEP: held[STEP], **state}

    @torch.no_grad()
    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take of what an Optimizer's `state` gave this process's share."""
        misfit({name: tuple(self.parameters[of].shape) for name, of in self._names().items()}, state)
        held = self.local.state()
        for piece, kind in self.moments[self.group.world.rank]:
            moment = held[f"{kind}.{piece.name}"]
            moment.copy_(_flat(state[f"{kind}.{piece.name}"].contiguous(), piece).view(moment.shape))
        self.local.steps = int(state[STEP])

    def _names(self) -> dict[str, str]:
        """Return the names of all moments in the order of an Optimizer's, each with that of its parameter."""
        by_rule = {rule: [name for one in self.groups if one.rule == rule for name in one.names] for rule in MOMENTS}
        return {f"{kind}.{name}": name for rule, kinds in MOMENTS.items() for kind in kinds for name in by_rule[rule]}

    def _summed(self, gradients: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the sum over all processes of the gradients that this one steps."""
        if missing := self.parameters.keys() - gradients.keys():
            raise ValueError(f"{min(missing)} has no gradient")
        parts = [_flat(gradients[piece.name].contiguous(), piece).float() for share in self.shares for piece in share]
        summed = _tree(list(self.group.exchanged(torch.cat(parts), self.sizes)))
        split = torch.split(summed, [piece.size for piece in self.mine])
        return {
            piece.name: part.view(self.local.parameters[piece.name].shape)
            for piece, part in zip(self.mine, split, strict=True)
        }

    def _norm(self, summed: Mapping[str, torch.Tensor]) -> float:
        """Return the norm over all processes' shares, whichever way they were shared out."""
        units = [
            summed[piece.name].view(-1)[start - piece.start : stop - piece.start]
            for piece in self.mine
            for start, stop in units_of(piece)
        ]
        norms = torch._foreach_norm(units, 2) if units else []  # pyright: ignore[reportPrivateImportUsage]
        mine = torch.stack(list(norms)).double().cpu() if norms else torch.empty(0, dtype=torch.float64)
        counts = [sum(len(list(units_of(piece))) for piece in share) for share in self.shares]
        squares = [norm * norm for part in self.group.gathered(mine, counts) for norm in part.tolist()]
        return math.sqrt(math.fsum(squares)) if all(map(math.isfinite, squares)) else math.nan

    def _give_back(self) -> None:
        """Give every process all masters, and the copies after them."""
        own = [self.local.parameters[piece.name].flatten() for piece in self.mine]
        gathered = self.group.gathered(_joined(own, self.parameters), self.sizes)
        for rank, (share, flat) in enumerate(zip(self.shares, gathered, strict=True)):
            if rank != self.group.world.rank:
                for piece, part in zip(share, torch.split(flat, [piece.size for piece in share]), strict=True):
                    _flat(self.parameters[piece.name], piece).copy_(part)
        if self.copies:
            masters = [self.parameters[name] for name in self.copies]
            torch._foreach_copy_(list(self.copies.values()), masters)  # pyright: ignore[reportPrivateImportUsage]


def _flat(tensor: torch.Tensor, piece: Piece) -> torch.Tensor:
    """Return a piece of a contiguous tensor, sharing memory."""
    return tensor.detach().view(-1)[piece.start : piece.stop]


def _joined(parts: Sequence[torch.Tensor], like: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return parts one after the other; of none, what is empty and lies where `like` does."""
    return torch.cat(list(parts)) if parts else next(iter(like.values())).new_empty(0)


def _tree(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum of parts as a binary tree over their order; the first of them is overwritten."""
    rest = list(parts)
    while len(rest) > 1:
        pairs = [rest[at].add_(rest[at + 1]) for at in range(0, len(rest) - 1, 2)]
        rest = pairs if len(rest) % 2 == 0 else [*pairs, rest[-1]]
    return rest[0]
