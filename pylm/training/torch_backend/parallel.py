"""Several processes share each step of a backend, which is made as for one and knows of no other.

Each computes its rows of the global batch. What the loss is the mean over is counted over all of them, so that rows
with few targets weigh as much as in one process; once a step all tell each other their sums. `ShardedOptimizer` does
the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from pylm.errors import PylmError, UsageError
from pylm.training.backend import IGNORED, MicroBatch, answers_of
from pylm.training.torch_backend.backend import TorchBackend
from pylm.training.torch_backend.group import Group, named
from pylm.training.torch_backend.passes import Passes, Sums, Tree
from pylm.training.torch_backend.sharded import ShardedOptimizer
from pylm.wording import param

__all__ = ["Group", "Mode", "digest", "parallelize"]

Mode = Literal["ddp", "fsdp"]
DIGESTED = 1 << 22  # elements at a time, whose integers take eight bytes each
MULTIPLIER = 0x9E3779B97F4A7C15


def parallelize(backend: TorchBackend, group: Group, mode: Mode = "ddp") -> TorchBackend:
    """Return a backend that is one of several that train the same model, or one alone that sums as several would.

    Args:
        backend: with its model, before anything is loaded.
        group: the processes.
        mode: what each holds.
    """
    bitwise = backend.train.determinism == "bitwise"
    if mode == "fsdp":
        from pylm.training.torch_backend.fsdp import FsdpBackend

        if bitwise:
            raise UsageError(
                f"{param('determinism', 'bitwise')} sums in an order that {param('parallel', 'fsdp')} does not keep",
                param("parallel", "ddp"),
            )
        backend = FsdpBackend(backend, group)
        backend.passes = _SharedPasses(backend, group, bitwise, check_every=None)  # each holds what no other has
        return backend
    backend.passes = _SharedPasses(backend, group, bitwise, backend.train.parallel_check_every)
    backend.optimizer = ShardedOptimizer(group, backend.optimizer.parameters, backend.train, backend.optimizer.copies)
    return backend


class _SharedPasses(Passes):
    """The passes of one process among several: their shares are of what all processes count."""

    def __init__(self, backend: TorchBackend, group: Group, bitwise: bool, check_every: int | None) -> None:
        super().__init__(Tree() if bitwise else Sums())
        self._group, self._bitwise, self._masks = group, bitwise, backend.model.masks
        self._weights = {**backend.masters, **{f"working {name}": one for name, one in backend.working.items()}}
        self._check_every, self._begun = check_every, 0
        self._counted = self._nominal = self._before = 0

    def apart(self, count: int, narrow: bool) -> bool:
        return self._bitwise or super().apart(count, narrow)

    def shares(self, micro_batches: Sequence[MicroBatch]) -> list[float]:
        """Return shares of what would count if every place did: how many do is known once all have said so."""
        self._compare_now_and_then()
        pairs = micro_batches[0].reference is not None
        counts = [len(answers_of(one)) if pairs else int((one.targets != IGNORED).sum()) for one in micro_batches]
        self._counted = sum(counts)
        self._nominal = self._group.world.size * sum(one.targets.size for one in micro_batches)
        # a pass drops what it would in one process: its number is its place among all passes of the step
        self._before = self._masks.passes
        self._masks.passes += self._group.world.rank * len(micro_batches)
        return [count / self._nominal for count in counts]

    def mean(self, losses: Sequence[torch.Tensor]) -> tuple[float, float]:
        world = self._group.world
        drops = self._masks.passes > self._before + world.rank * len(losses)
        self._masks.passes = self._before + (world.size * len(losses) if drops else 0)
        rows = self._group.rows([_tree_sum(torch.stack(list(losses)).tolist()), self._counted])
        factor = self._nominal / max(sum(counted for _, counted in rows), 1)
        return _tree_sum([loss for loss, _ in rows]) * factor, factor

    def margins(self, parts: Sequence[torch.Tensor]) -> Any:
        mine = super().margins(parts)
        if mine is None:
            return None
        counts = [int(count) for [count] in self._group.rows([len(mine)])]
        rows = self._group.rows([*mine.tolist(), *[0.0] * (max(counts) - len(mine))])
        return np.array([one for row, count in zip(rows, counts, strict=True) for one in row[:count]], np.float32)

    def _compare_now_and_then(self) -> None:
        """Refuse to go on where a process's weights are not those of the others."""
        self._begun += 1
        if self._check_every is None or self._begun % self._check_every or self._group.world.size == 1:
            return
        digests = [tuple(row) for row in self._group.rows(digest(self._weights))]
        [(usual, many)] = Counter(digests).most_common(1)
        away = [rank for rank, one in enumerate(digests) if one != usual]
        if not away:
            return
        known = 2 * many > len(digests)  # of two, nobody knows which one
        which = f"{named(away)} and those of the others" if known else named(range(len(digests)))
        raise PylmError(
            f"the weights of {which} are not the same any more: memory or a device computes wrongly",
            f"{param('resume', 'auto')} goes on from the last checkpoint, on other machines",
        )


def digest(tensors: Mapping[str, torch.Tensor]) -> list[float]:
    """Return a hash of all bits, in whole numbers of 32 bits; one word that changes always shows."""
    sums = []
    for name in sorted(tensors):
        words = tensors[name].detach().contiguous().view(-1)
        words = words.view(torch.int32 if words.element_size() == 4 else torch.int16)
        for part in torch.split(words, DIGESTED):
            odd = torch.arange(1, 2 * len(part), 2, device=part.device)
            sums.append((part.long() * odd).sum())  # integers wrap: the order of the sum is nothing to it
    mixed = 0
    for one in torch.stack(sums).tolist():
        mixed = (mixed * MULTIPLIER + one) % 2**64
    return [float(mixed >> 32), float(mixed & 0xFFFFFFFF)]


def _tree_sum(values: Sequence[float]) -> float:
    """Return the sum as a binary tree over the order of the values."""
    rest = list(values)
    while len(rest) > 1:
        rest = [sum(rest[at : at + 2]) for at in range(0, len(rest), 2)]
    return rest[0]
