"""What only torch can do for a probe: one pass, its memory, and torch.compile."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from pylm.config.units import format_bytes
from pylm.errors import PylmError
from pylm.training.backend import Choices, MicroBatch
from pylm.training.optim.muon import Muon
from pylm.training.probe import SWITCHED_OFF, BatchOf, Circumstances, Compiler, Strategy
from pylm.training.torch_backend import machine
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.training.torch_backend.backend import TorchBackend

__all__ = ["TorchCompiler", "TorchTrial", "out_of_memory"]

MEMORY_SHARE = 0.9  # of a GPU's memory: the rest is for fragments, evaluation and whoever else
COMPILE_SECONDS = {"cpu": 90.0, "cuda": 60.0}


class TorchTrial:
    """Implements pylm.training.probe.Trial; only the model's working gradients are touched."""

    times: tuple[str, ...] = ("eager", "optimizer")

    def __init__(self, backend: TorchBackend) -> None:
        """Try the model of a backend."""
        self.backend, self.kind = backend, backend.torch_device.type
        self.shape, self.train = backend.shape, backend.train
        self.precision, self.device_name = backend.precision, backend.device_name
        self.strategy: Strategy = "fastest" if self.kind == "cpu" else "largest"
        self.memory_limit = machine.total_memory() if self.kind == "cpu" else None
        self.compiler: Compiler | None = TorchCompiler(backend) if self.kind in COMPILE_SECONDS else None

    def circumstances(self, batch: BatchOf) -> Circumstances:
        """Return what the choices depend on; packed windows call another kernel than plain ones."""
        facts = machine.facts(self.backend.torch_device)
        settings = {"micro_batch", "activation_checkpointing", "optimizer"}
        return Circumstances(facts["device_name"], settings, facts, batch(1).cu_seqlens is not None)

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Leave gradients and random generators after a block as they were before it."""
        states = self.backend.rng()
        try:
            yield
        finally:
            self.forget()
            self.backend.set_rng(states)

    def run(self, micro_batch: MicroBatch) -> None:
        """Compute one forward and backward pass, and wait for it."""
        self.backend.forward_backward(micro_batch)
        machine.wait(self.backend.torch_device)

    def forget(self) -> None:
        """Give up the gradients of a pass."""
        self.backend.forget_gradients()

    def may_grow(self, factor: float) -> bool:
        """Return whether more rows may be tried: always, for torch says what does not fit, until memory is full."""
        return machine.device_memory(self.backend.torch_device) * MEMORY_SHARE >= self.backend.memory()

    def out_of_memory(self, error: BaseException) -> bool:
        """Return whether an error says that memory ran out."""
        return out_of_memory(error)

    def in_use(self) -> str:
        """Return how much memory is in use."""
        return f": {format_bytes(self.backend.memory())} in use"

    def once_a_step(self) -> list[float]:
        """Return the seconds of an optimizer step."""
        return [self.optimizer_seconds()]

    def settled_compile(self) -> Choices:
        """Return that nothing is compiled on this device, and why."""
        if self.train.compile is True:
            raise PylmError(
                f"train.compile true: torch.compile is not used on {self.kind}",
                f"leave it out, or {param('compile', 'false')}",
            )
        why = SWITCHED_OFF if self.train.compile is False else f"it is not tried on {self.kind}"
        return {"compile": False, "compile_why": why}

    def matmul_flops(self, say: Callable[[str], None]) -> float:
        """Return the FLOPs a second of matrix products."""
        return machine.known_matmul_flops(self.backend.torch_device, self.precision, say)

    def optimizer_seconds(self) -> float:
        """Time an optimizer step: it reads three numbers and a gradient for each, and writes what it read."""
        device = self.backend.torch_device
        count = sum(parameter.numel() for parameter in self.backend.optimizer.parameters.values())
        sampled = min(count, 4 << 20)
        tensors = [torch.ones(sampled, device=device) for _ in range(4)]

        def touch() -> None:
            for tensor in tensors:
                tensor.mul_(1.0)

        return self._seconds(touch) * count / max(sampled, 1) + self.muon_seconds()

    def muon_seconds(self) -> float:
        """Time Muon's products: those of one block's matrices, stepped aside, times the blocks."""
        groups = [group for group in self.backend.optimizer.groups if group.rule == "muon"]
        names = [name for group in groups for name in group.names]
        first = [name for name in names if name.startswith("blocks.0.")]
        if not first:
            return 0.0
        matrices = {name: self.backend.masters[name].clone() for name in first}
        muon = Muon([dataclasses.replace(groups[0], names=tuple(first))], matrices)
        one_block = self._seconds(lambda: muon.step(matrices, lr=0.0, step=1, scale=1.0))
        return one_block * len(names) / len(first)

    def _seconds(self, work: Callable[[], None]) -> float:
        """Return the least seconds of two times: a GPU loads its kernel in the first."""
        best = float("inf")
        for _ in range(2):
            machine.wait(self.backend.torch_device)
            started = perf_counter()
            work()
            machine.wait(self.backend.torch_device)
            best = min(best, perf_counter() - started)
        return best


class TorchCompiler:
    """Implements pylm.training.probe.Compiler."""

    name = "torch.compile"

    def __init__(self, backend: TorchBackend) -> None:
        """Compile the blocks of a backend's model, when asked to."""
        self.backend = backend
        self.seconds = COMPILE_SECONDS[backend.torch_device.type]

    def version(self) -> list[Any]:
        """Return which compilers there are."""
        return machine.compiler()

    def compile(self) -> None:
        """Compute compiled from now on."""
        self.backend.compile()

    def uncompile(self) -> None:
        """Compute eagerly again."""
        self.backend.uncompile()

    def eagerly(self) -> AbstractContextManager[None]:
        """Compute eagerly inside a block."""
        return self.backend.eagerly()

    def failure(self, error: Exception) -> str | None:
        """Return the first line of what was said; a GPU's memory that ran out is no failure of a compiler."""
        if isinstance(error, torch.OutOfMemoryError):
            return None
        return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says so; torch has a type of its own for that on CUDA devices only."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in ("DefaultCPUAllocator", "MPS backend out of memory"))
