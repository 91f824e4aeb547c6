"""Each process holds some rows of every parameter: torch's FSDP2 gathers a block as it computes, and lets it go again.

The parameters are the fp32 masters themselves: what is computed in is gathered of them, so there are no copies. Rows
are cut as FSDP2 cuts them, the padding of the vocabulary with the rest; what is saved, stepped and averaged leaves it
out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from pylm.checkpoint import Piece
from pylm.checkpoint.sharded_saver import Gather
from pylm.errors import UsageError
from pylm.model.parameters import misfit
from pylm.model.torch import Model
from pylm.model.torch_codecs import from_stored, to_buffer
from pylm.training.backend import LOSS_SCALE, Choices, Counts, MicroBatch, Tensor, evaluation_rows
from pylm.training.optim.rules import STEP
from pylm.training.probe import BatchOf
from pylm.training.torch_backend.backend import TorchBackend
from pylm.training.torch_backend.group import Group
from pylm.training.torch_backend.rows import Owned, Rows, RowsOptimizer, rows_of, stored_rows
from pylm.training.torch_backend.together import CHOSEN, LeadingTrial, follow
from pylm.training.torch_backend.trial import TorchTrial, out_of_memory
from pylm.wording import param

__all__ = ["FsdpBackend", "gather_of", "shard"]


def shard(model: Model, processes: int, device: torch.device, dtype: torch.dtype) -> None:
    """Leave this process its rows of each parameter of a model in fp32, which then computes in `dtype`.

    Gradients are sums, in fp32: on gloo torch would sum them where it says that it takes their mean.
    """
    mesh = init_device_mesh(device.type, (processes,))
    narrow = None if dtype == torch.float32 else dtype
    policy = MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=torch.float32, cast_forward_inputs=False)
    modules = (*model.blocks, model)
    for module in modules:
        sharded = fully_shard(module, mesh=mesh, mp_policy=policy)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)
    for module in modules:  # what it gathers into, made in a first pass without gradients, would never have any
        module.unshard()  # pyright: ignore[reportCallIssue]
        module.reshard()  # pyright: ignore[reportCallIssue]
    register_fsdp_forward_method(model, "loss")
    model.register_forward_hook(_let_go)


def _let_go(model: torch.nn.Module, *_: object) -> None:
    """Forget what was gathered for a pass that has no backward: rows may change before the next one."""
    if not torch.is_grad_enabled():
        assert isinstance(model, FSDPModule)
        model.reshard()


class FsdpBackend(TorchBackend):
    """A TorchBackend whose parameters, moments and average are this process's rows; all processes call the same."""

    optimizer: RowsOptimizer

    def __init__(self, made: TorchBackend, group: Group) -> None:
        """Keep this process's rows of a backend that was made for one, which is not to be used any more."""
        if made.adapter is not None:
            raise UsageError(
                f"{param('parallel', 'fsdp')} does not train adapters: each process has all of their base",
                f"{param('parallel', 'ddp')} does",
            )
        vars(self).update(vars(made))
        vars(made).clear()  # or it would keep alive what is whole
        self.group, self._passes_left = group, 0
        self.whole = {name: tuple(one.shape) for name, one in self.masters.items()}
        if self.copies:
            self.model.float()
            self._put(self.model.weights(), self.masters)
            self.copies = {}
        owned = Owned(group, self._that_learns(self.masters), self.train, self.torch_device)
        del self.masters, self.working, self.optimizer
        world = group.world
        held = {name: rows_of(len(one), world.rank, world.size) for name, one in self.model.named_parameters()}
        # of what is saved: without the padding
        self.rows = {name: Rows(*(min(row, self.whole[name][0]) for row in rows)) for name, rows in held.items()}
        learning = self._learning
        self._learning = {name: _within(rows, self.rows[name]) for name, rows in learning.items()}
        shard(self.model, world.size, self.torch_device, self.dtype)
        self.working = dict(self.model.named_parameters())
        self.masters = {name: self._local(name, parameter) for name, parameter in self.working.items()}
        of_learning = {
            name: Rows(*(self.rows[name].first + at - learning[name].start for at in (rows.start, rows.stop)))
            for name, rows in self._learning.items()
        }
        self.optimizer = RowsOptimizer(group, owned, self._that_learns(self.masters), of_learning, self.train)

    def weights(self) -> dict[str, Tensor]:
        """Return this process's rows of the fp32 masters, copied."""
        return {name: _piece(master, self.rows[name].first) for name, master in self.masters.items() if len(master)}

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return this process's part of the optimizer's tensors, copied; what is one for all the first one has."""
        state: dict[str, Tensor] = {name: _piece(moment, first) for name, moment, first in self.optimizer.pieces()}
        if self.group.world.leads:
            state[STEP] = Tensor.of(*to_buffer(torch.tensor(self.optimizer.steps)))
            if self._scale.used:
                state[LOSS_SCALE] = Tensor.of(*to_buffer(torch.tensor(self._scale.state())))
        return state

    def probe(self, batch: BatchOf, sequences: int | None) -> Choices:
        """Choose what is open, as one process does: the first one searches, and the others compute what it tries."""
        led = "micro_batch" not in self._choices
        if led and not self.group.world.leads:
            self._choices.update(follow(self, batch))
            self.timings()
        found = super().probe(batch, sequences)
        if led and self.group.world.leads:
            self.group.told([CHOSEN, self._choices])
        return found

    def uncompile(self) -> None:
        """Compute eagerly again; what a pass that failed has gathered goes."""
        super().uncompile()
        for module in (*self.model.blocks, self.model):
            module.reshard()  # pyright: ignore[reportCallIssue]

    def _trial(self) -> TorchTrial:
        return LeadingTrial(self)

    def loss(self, batch: MicroBatch) -> Counts:
        """Evaluate, and compute as often as the process with the most rows does: nobody gathers alone."""
        with self._in_company():
            counts = super().loss(batch)
        passes = -(-len(batch.inputs) // evaluation_rows(batch.inputs.shape[1], self.shape.vocab_size))
        most = max(int(row[0]) for row in self.group.rows([passes]))
        for _ in range(most - passes):
            self.logits([0])
        return counts

    def logits(self, ids: Sequence[int]) -> Any:
        """Return the next token's logits after `ids`, in all processes."""
        with self._in_company():
            return super().logits(ids)

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor], optimizer_state: Mapping[str, Tensor] | None) -> None:
        """Take this process's rows of what a checkpoint holds, whatever wrote it; None leaves the optimizer fresh."""
        stored = self._unnamed(weights)
        self._take(self.masters, stored)
        self.optimizer.take_matrices(stored)
        if optimizer_state is not None:
            state = dict(optimizer_state)
            if LOSS_SCALE in state:
                self._scale.load(from_stored({LOSS_SCALE: state.pop(LOSS_SCALE)})[LOSS_SCALE].tolist())
            self.optimizer.load_stored(state)

    def average_weights(self) -> dict[str, Tensor]:
        """Return this process's rows of the average, copied."""
        return {name: _piece(one, self.rows[name].first) for name, one in self._average.items() if len(one)}

    def load_average(self, weights: Mapping[str, Tensor]) -> None:
        """Take this process's rows of what a checkpoint holds of it."""
        self._average = {name: torch.empty_like(master) for name, master in self.masters.items()}
        self._take(self._average, self._unnamed(weights))

    def _take(self, into: Mapping[str, torch.Tensor], stored: Mapping[str, Tensor]) -> None:
        for name, tensor in into.items():
            tensor.copy_(stored_rows(stored[name], self.rows[name]))

    def _unnamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        misfit(self.whole, {name: one.shape for name, one in tensors.items()})
        return dict(tensors)

    def _accumulate(self, micro_batches: Sequence[MicroBatch]) -> list[torch.Tensor]:
        self._passes_left = len(micro_batches)
        with self._in_company():
            return super()._accumulate(micro_batches)

    def _loss(self, micro_batch: MicroBatch) -> torch.Tensor:
        """Return the mean loss; the gradients of the last pass take those before it along to whom they belong."""
        self._passes_left -= 1
        assert isinstance(self.model, FSDPModule)
        self.model.set_requires_gradient_sync(self._passes_left == 0)
        return super()._loss(micro_batch)

    @contextmanager
    def _in_company(self) -> Iterator[None]:
        """Raise what made another process leave, where torch says no more than that it is gone."""
        try:
            yield
        except RuntimeError as error:
            if not out_of_memory(error):
                self.group.heard_instead_of(error)
            raise

    def _add_up(self) -> None:
        """Leave the sum of passes to FSDP2, which makes it in fp32."""

    def _gradients(self) -> dict[str, torch.Tensor]:
        gradients = {name: one.grad for name, one in self.working.items() if one.grad is not None}
        return self._that_learns({name: self._local(name, one) for name, one in gradients.items()})

    def _local(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return this process's rows of what is saved of a tensor, sharing memory."""
        assert isinstance(tensor, DTensor)
        local: torch.Tensor = tensor.to_local().detach()
        return local[: self.rows[name].stop - self.rows[name].first]


def _within(learning: slice, rows: Rows) -> slice:
    """Return which of a process's rows learn, counted from its first."""
    first, stop = max(learning.start, rows.first), min(learning.stop, rows.stop)
    return slice(first - rows.first, max(first, stop) - rows.first)


def _piece(tensor: torch.Tensor, first: int) -> Piece:
    """Copy rows, which later steps leave alone."""
    return Piece(**vars(Tensor.of(*to_buffer(tensor))), first=first)


def gather_of(group: Group) -> Gather:
    """Return what tells all processes each other's numbers by a way that nothing else uses, in any thread."""
    processes = dist.new_group(backend="gloo")

    def gather(numbers: Sequence[int]) -> list[list[int]]:
        mine = torch.tensor([int(number) for number in numbers], dtype=torch.int64)
        rows = [torch.empty_like(mine) for _ in range(group.world.size)]
        try:
            dist.all_gather(rows, mine, group=processes)
        except RuntimeError as error:
            group.heard_instead_of(error)
            raise
        return [row.tolist() for row in rows]

    return gather
