"""One optimizer over processes that hold rows: AdamW steps them where they lie, Muon whole matrices at their owners.

An owner keeps its matrices whole, as masters beside the rows that the model has, with their momentum: as much as its
share of all rows is. A step brings it their gradients, and everybody their rows. So a matrix is stepped as one process
steps it, by the same code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch

from pylm.checkpoint import Joined, Tensor
from pylm.config.schema import Train
from pylm.model.torch_codecs import from_stored
from pylm.training.optim.groups import Group as Rules
from pylm.training.optim.groups import groups
from pylm.training.optim.optimizer import Optimizer
from pylm.training.optim.rules import STEP, misfit
from pylm.training.torch_backend.group import Group
from pylm.training.torch_backend.owners import shares_of_parameters

__all__ = ["Owned", "Rows", "RowsOptimizer", "rows_of", "stored_rows"]


class Rows(NamedTuple):
    """Rows of a tensor."""

    first: int
    stop: int


def rows_of(count: int, rank: int, processes: int) -> Rows:
    """Return which of so many rows a process holds, as FSDP2 cuts them: the last ones have fewer, or none."""
    each = -(-count // processes)
    return Rows(min(rank * each, count), min((rank + 1) * each, count))


def stored_rows(stored: Tensor, rows: Rows) -> torch.Tensor:
    """Return rows of a stored tensor, of which no more is read."""
    joined = stored if isinstance(stored, Joined) else Joined(stored.dtype, stored.shape, [stored])
    return from_stored({"": joined.rows(*rows)})[""]


class Owned:
    """Muon's matrices by their owners, and those of this process, copied while there are whole ones."""

    def __init__(
        self, group: Group, parameters: Mapping[str, torch.Tensor], train: Train, device: torch.device
    ) -> None:
        """Share the matrices out.

        Args:
            group: the processes.
            parameters: what learns, whole.
            train: the optimizer and its rates.
            device: where this process's matrices are to lie.
        """
        self.rules = groups(parameters, train)
        self.whole = {name: tuple(one.shape) for name, one in parameters.items()}
        muon = [one for one in self.rules if one.rule == "muon"]
        self.shapes = {name: self.whole[name] for one in muon for name in one.names}
        shares = shares_of_parameters(self.shapes, muon, group.world.size)
        self.names = [[piece.name for piece in share] for share in shares]
        mine = self.names[group.world.rank]
        self.matrices = {name: parameters[name].detach().to(device, copy=True) for name in mine}


class RowsOptimizer:
    """Has the ways of an Optimizer, for this process's rows; all processes call the same."""

    def __init__(
        self, group: Group, of: Owned, parameters: dict[str, torch.Tensor], rows: Mapping[str, Rows], train: Train
    ) -> None:
        """Begin at step 0.

        Args:
            group: the processes.
            of: matrices that are stepped whole, and who steps them.
            parameters: this process's rows of each, which steps change in place.
            rows: which those are.
            train: the optimizer, its rates, decay and clip.
        """
        self.group, self.parameters, self.rows, self.clip = group, parameters, rows, train.grad_clip
        self.copies: dict[str, torch.Tensor] = {}
        self.groups, self.whole, shapes = of.rules, of.whole, of.shapes
        self.owned, self.matrices = of.names, of.matrices
        own = {name: one for name, one in parameters.items() if name not in shapes and one.numel()} | self.matrices
        kept = [Rules(one.rule, one.rate, one.decay, tuple(filter(own.__contains__, one.names))) for one in of.rules]
        self.local = Optimizer(own, train, {}, [one for one in kept if one.names])
        self._each = {name: -(-rows // group.world.size) for name, (rows, _) in shapes.items()}
        self._sizes = [sum(self._each[name] * self.whole[name][1] for name in share) for share in self.owned]

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self.local.steps

    @torch.no_grad()
    def step(self, lr: float, gradients: Mapping[str, torch.Tensor], *, grad_scale: float = 1.0) -> float:
        """Take a step together; see Optimizer.step. The gradients are this process's rows of the sum."""
        if missing := self.parameters.keys() - gradients.keys():
            raise ValueError(f"{min(missing)} has no gradient")
        norm = self._norm(gradients) * abs(grad_scale)
        if not math.isfinite(norm):
            return norm
        scale = grad_scale * min(1.0, self.clip / (norm + 1e-6)) if self.clip else grad_scale
        if not any(self._sizes):
            self.local.apply(lr, gradients, scale)
            return norm
        self.local.apply(lr, {**gradients, **self._whole_gradients(gradients)}, scale)
        self._give_back()
        return norm

    def state(self) -> dict[str, torch.Tensor]:
        """Return this process's share of the state by name; `pieces` says which rows it is."""
        return self.local.state()

    def pieces(self) -> Iterator[tuple[str, torch.Tensor, int]]:
        """Yield name, tensor and first row of the moments that this process has."""
        for name, moment in self.local.state().items():
            if name != STEP:
                of = name.partition(".")[2]
                yield name, moment, 0 if of in self.matrices else self.rows[of].first

    @torch.no_grad()
    def load_stored(self, state: Mapping[str, Tensor]) -> None:
        """Take of the whole state that a checkpoint holds this process's share."""
        muon = {name for share in self.owned for name in share}
        kinds = {name: ("momentum",) if name in muon else ("first", "second") for name in self.whole}
        misfit({f"{kind}.{name}": self.whole[name] for name in kinds for kind in kinds[name]}, state)
        for name, moment, first in self.pieces():
            moment.copy_(stored_rows(state[name], Rows(first, first + len(moment))))
        self.local.steps = int(from_stored({STEP: state[STEP]})[STEP])

    @torch.no_grad()
    def take_matrices(self, weights: Mapping[str, Tensor]) -> None:
        """Take the matrices that this process owns from stored weights, whose rows the model has taken."""
        for name, matrix in self.matrices.items():
            matrix.copy_(from_stored({name: weights[name]})[name])

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take what `state` gave."""
        self.local.load(state)

    def _norm(self, gradients: Mapping[str, torch.Tensor]) -> float:
        mine = [gradients[name] for name in self.parameters if gradients[name].numel()]
        norms = torch._foreach_norm(mine, 2, dtype=torch.float64) if mine else []  # pyright: ignore[reportPrivateImportUsage]
        square = sum(float(norm) ** 2 for norm in norms)
        squares = [row[0] for row in self.group.rows([square])]
        return math.sqrt(math.fsum(squares)) if all(map(math.isfinite, squares)) else math.nan

    def _whole_gradients(self, gradients: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the gradients of the matrices that this process owns."""
        flat = torch.cat([self._padded(name, gradients[name]).flatten() for share in self.owned for name in share])
        received, at, found = self.group.exchanged(flat.float(), self._sizes), 0, {}
        for name, matrix in self.matrices.items():
            size = self._each[name] * matrix.shape[1]
            found[name] = received[:, at : at + size].reshape(-1, matrix.shape[1])[: len(matrix)]
            at += size
        return found

    def _give_back(self) -> None:
        """Give every process its rows of the matrices, from those that own them."""
        processes = self.group.world.size
        parts = [self._padded(name, one, processes).view(processes, -1) for name, one in self.matrices.items()]
        like = next(iter(self.parameters.values()))
        flat = torch.cat(parts, 1) if parts else like.new_empty(processes, 0)
        for share, received in zip(self.owned, self.group.returned(flat, self._sizes), strict=True):
            sizes = [self._each[name] * self.whole[name][1] for name in share]
            for name, part in zip(share, torch.split(received, sizes), strict=True):
                held = self.parameters[name]
                held.copy_(part.view(-1, self.whole[name][1])[: len(held)])

    def _padded(self, name: str, rows: torch.Tensor, times: int = 1) -> torch.Tensor:
        """Return rows of a matrix with as many more of zeros as make it one process's most, or so many times that."""
        wanted = self._each[name] * times
        if len(rows) == wanted:
            return rows
        padded = rows.new_zeros(wanted, self.whole[name][1])
        padded[: len(rows)] = rows
        return padded
