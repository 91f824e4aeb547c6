"""A probe of processes that each hold a part of the model: no pass is computed but by all of them.

The first process searches, as one alone would; before each pass it tells the others which one it is, and they compute
it with their own rows. How much more fits is asked of all: nothing is tried until it fails, for a process that runs out
of memory within a pass leaves the others waiting.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from pylm.training.backend import Choices, MicroBatch
from pylm.training.probe import BatchOf, Circumstances, too_large
from pylm.training.torch_backend import machine
from pylm.training.torch_backend.trial import MEMORY_SHARE, TorchCompiler, TorchTrial, out_of_memory

if TYPE_CHECKING:
    from pylm.training.torch_backend.fsdp import FsdpBackend

__all__ = ["CHOSEN", "LeadingTrial", "follow"]

PASS, GROW, COMPILE, UNCOMPILE, CHOSEN = "pass", "grow", "compile", "uncompile", "chosen"


class LeadingTrial(TorchTrial):
    """The trial of the first process, by which the others are told what is tried."""

    backend: FsdpBackend

    def __init__(self, backend: FsdpBackend) -> None:
        """Try the model of a backend whose processes all follow."""
        super().__init__(backend)
        self.strategy = "fastest" if self.kind == "cpu" else "growing"
        self.before, self.eager = _at_rest(backend), False
        self.compiler = None if self.compiler is None else _LeadingCompiler(self)

    def tell(self, *order: Any) -> None:
        """Have the others do something too."""
        self.backend.group.told(order)

    def circumstances(self, batch: BatchOf) -> Circumstances:
        """Return what the choices depend on: how many hold a part, too."""
        here = super().circumstances(batch)
        return here._replace(machine=here.machine | {"fsdp": self.backend.group.world.size})

    def run(self, micro_batch: MicroBatch) -> None:
        """Compute one forward and backward pass in all processes, and wait for this one's."""
        self.tell(PASS, len(micro_batch.inputs), self.eager)
        super().run(micro_batch)

    def may_grow(self, factor: float) -> bool:
        """Return whether `factor` times what the passes so far took is there in every process."""
        self.tell(GROW, factor)
        return _may_grow(self.backend, self.before, factor)


class _LeadingCompiler(TorchCompiler):
    """Compiles in all processes, so that none waits for one that computes eagerly."""

    def __init__(self, trial: LeadingTrial) -> None:
        super().__init__(trial.backend)
        self.trial = trial

    def compile(self) -> None:
        self.trial.tell(COMPILE)
        super().compile()

    def uncompile(self) -> None:
        self.trial.tell(UNCOMPILE)
        super().uncompile()

    @contextmanager
    def eagerly(self) -> Iterator[None]:
        self.trial.eager = True
        try:
            with super().eagerly():
                yield
        finally:
            self.trial.eager = False


def follow(backend: FsdpBackend, batch: BatchOf) -> Choices:
    """Compute what the first process tries until it has chosen, and return its choices; `batch` gives so many rows."""
    trial, before, compiled = TorchTrial(backend), _at_rest(backend), False
    with trial.untouched():
        while True:
            order, *what = backend.group.told(None)
            if order == CHOSEN:
                return dict(what[0])
            if order == PASS:
                _follow_a_pass(trial, batch(what[0]), what[1], compiled and not what[1])
            elif order == GROW:
                _may_grow(backend, before, what[0])
            elif order == COMPILE:
                backend.compile()
                compiled = True
            else:
                backend.uncompile()
                compiled = False


def _follow_a_pass(trial: TorchTrial, micro_batch: MicroBatch, eager: bool, compiled: bool) -> None:
    """Compute a pass; that compiling fails is for the first process to judge, in which it fails too."""
    try:
        if eager:
            with trial.backend.eagerly():
                trial.run(micro_batch)
        else:
            trial.run(micro_batch)
    except Exception as error:  # compilers fail in every way there is
        if out_of_memory(error):
            raise too_large(trial, len(micro_batch.inputs)) from None
        if not compiled:
            raise
    finally:
        trial.forget()


def _at_rest(backend: FsdpBackend) -> int:
    """Return the bytes held before anything is tried; those of making the model are no pass's."""
    if backend.torch_device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(backend.torch_device)
    return backend.memory()


def _may_grow(backend: FsdpBackend, before: int, factor: float) -> bool:
    """Return whether every process has room for `factor` times what its passes took beside what it held before."""
    wanted = before + factor * (backend.memory() - before)
    fits = wanted <= MEMORY_SHARE * machine.device_memory(backend.torch_device)
    return not backend.group.agree([not fits])[0]
