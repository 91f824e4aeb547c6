"""What only MLX can do for a probe: one pass, and its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import mlx.core as mx

from pylm.config.units import format_bytes
from pylm.model.mlx.device import MEMORY_SHARE, on_gpu, working_set
from pylm.training.backend import Choices, MicroBatch
from pylm.training.mlx_backend import machine
from pylm.training.probe import SWITCHED_OFF, BatchOf, Circumstances, Compiler, Strategy

if TYPE_CHECKING:
    from pylm.training.mlx_backend.backend import MlxBackend

__all__ = ["MlxTrial", "out_of_memory"]


class MlxTrial:
    """Implements pylm.training.probe.Trial: a GPU that runs out may take the process with it, so rows grow in steps."""

    times: tuple[str, ...] = ("pass",)
    strategy: Strategy = "growing"
    memory_limit: int | None = None
    compiler: Compiler | None = None  # MLX compiles the functions of a step or does not: nothing is tried

    def __init__(self, backend: MlxBackend) -> None:
        """Try the model of a backend."""
        self.backend = backend
        self.shape, self.train = backend.shape, backend.train
        self.precision, self.device_name = backend.precision, backend.device_name
        self._held_before = self._held_most = 0  # bytes, of the last pass

    def circumstances(self, batch: BatchOf) -> Circumstances:
        """Return what the choices depend on."""
        facts, settings = machine.facts(), {"micro_batch", "activation_checkpointing"}
        return Circumstances(f"{facts['device_name']} mlx", settings, facts, self.backend.compiled)

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Leave dropout's generator after a block as it was before it; gradients are never kept."""
        states = self.backend.rng()
        try:
            yield
        finally:
            self.backend.set_rng(states)

    def run(self, micro_batch: MicroBatch) -> None:
        """Compute one forward and backward pass, and wait for it."""
        mx.reset_peak_memory()
        self._held_before = mx.get_active_memory()
        self.backend.forward_backward(micro_batch)
        self._held_most = mx.get_peak_memory()

    def forget(self) -> None:
        """Do nothing: the gradients of a pass went with it."""

    def may_grow(self, factor: float) -> bool:
        """Return whether `factor` times the memory that the last pass took will be there."""
        taken = self._held_most - self._held_before
        return not working_set() or self._held_before + taken * factor < MEMORY_SHARE * working_set()

    def out_of_memory(self, error: BaseException) -> bool:
        """Return whether an error says that memory ran out."""
        return out_of_memory(error)

    def in_use(self) -> str:
        """Return how much memory was in use."""
        return f", {format_bytes(self.backend.memory())} at most in use"

    def once_a_step(self) -> list[float]:
        """Return nothing: the passes are taken for the whole step."""
        return []

    def settled_compile(self) -> Choices:
        """Return whether the functions of a step are compiled, and why."""
        if self.backend.compiled:
            why = "the two functions of a step"
        elif self.train.compile is False:
            why = SWITCHED_OFF
        else:
            why = "on a CPU MLX compiles with a C++ compiler, for each run anew"
        return {"compile": self.backend.compiled, "compile_why": why}

    def matmul_flops(self, say: Callable[[str], None]) -> float:
        """Return the FLOPs a second of matrix products."""
        return machine.known_matmul_flops(mx.gpu if on_gpu() else mx.cpu, self.precision, say)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says so; MLX has no type of its own for that."""
    if isinstance(error, MemoryError):
        return True
    return any(word in str(error).lower() for word in ("alloc", "memory", "buffer size"))
