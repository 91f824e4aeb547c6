"""Comparisons on a GPU: every side agrees with an exact answer first, then all are timed in turn by the device's clock.

All sides live in one process: what they share (tensors, clocks, temperature) is then the same, and a compiler's minutes
are paid once. Random data always: on zeros a GPU draws less power and clocks higher. Between two calls a gigabyte is
overwritten, so that nothing is found in a cache, and the queue is long enough to hide what a launch costs the CPU.
"""

from __future__ import annotations

import importlib.metadata
import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
import torch
import torch._functorch.config

from benchmarks.compare import Run
from benchmarks.report import Report

Function = Callable[..., Any]
Factory = Callable[[], Function]  # imports what it needs and gives a function of the leaves
WHICH = ("forward", "backward", "both")
BOUND = 5e-3  # relative error of bf16, ours
SLACK = 3.0  # how much further a peer may be: it may round in between
PACKAGES = {"pylm": "pylm-kernels", "Liger": "liger-kernel"}  # the others are torch's
UNAVAILABLE = (ImportError, RuntimeError)  # a peer without a kernel for this device or shape


def name() -> str:
    """The folder of this GPU's results."""
    return re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-")


def describe() -> dict[str, Any]:
    """What the figures depend on."""
    about = torch.cuda.get_device_properties(0)
    found = {
        "gpu": about.name,
        "gpu_memory_gb": round(about.total_memory / 2**30),
        "gpu_processors": about.multi_processor_count,
    }
    if torch.version.cuda:
        capability = ".".join(str(n) for n in torch.cuda.get_device_capability())
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        return found | {"capability": capability, "cuda": torch.version.cuda, "cudnn": cudnn}
    return found | {"hip": torch.version.hip}


def several(outputs: Any) -> tuple[torch.Tensor, ...]:
    """What a function returned, as a tuple."""
    return tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """‖found - exact‖ / ‖exact‖."""
    return float((found.float() - exact.float()).norm() / exact.float().norm().clamp_min(1e-30))


class Gpu:
    """The fixture of these comparisons."""

    device = "cuda"
    backend = "triton"
    unavailable: tuple[type[Exception], ...] = UNAVAILABLE
    doubted: tuple[str, ...] = ()  # peers whose results prove nothing here
    rounds = 7
    calls = 10  # in a round

    def __init__(self, subject: str, report: Report, benchmark: Any) -> None:
        """Rows go to the subject named by the benchmark's file."""
        self.subject, self.report, self.benchmark = subject, report, benchmark
        # the same backward is run again and again, so compiled code may not take its inputs for scratch
        torch._functorch.config.donated_buffer = False
        torch._dynamo.reset()
        torch.manual_seed(1)
        self._flush: torch.Tensor | None = None

    def random(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        """A leaf of normal bf16 numbers."""
        x = torch.randn(shape, device=self.device) * scale
        return x.bfloat16().requires_grad_()

    def integers(self, high: int, *shape: int) -> torch.Tensor:
        """Uniform from 0 to high - 1."""
        return torch.randint(0, high, shape, device=self.device)

    def compile(self, function: Function) -> Function:
        """torch.compile, for these shapes only."""
        return torch.compile(function, dynamic=False)  # type: ignore[no-any-return]

    def seconds(self, run: Callable[[], Any]) -> float:
        """The median of some calls, each after the caches were overwritten."""
        if self._flush is None:
            self._flush = torch.empty(2**28, dtype=torch.int32, device=self.device)
        marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(self.calls)]
        for start, end in marks:
            self._flush.zero_()
            start.record()
            run()
            end.record()
        torch.cuda.synchronize()
        return statistics.median(start.elapsed_time(end) for start, end in marks) / 1e3

    def peak_mb(self, run: Callable[[], Any]) -> float:
        """What a call allocates beside what is there already, at its highest."""
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6

    def work(self, which: str, function: Function, leaves: Sequence[Any], cotangents: Sequence[Any]) -> Function:
        """One call to be timed: the outputs, the gradients, or both ways, of which the gradients are given."""
        if which == "forward":
            inputs = [x.detach() for x in leaves]

            def run() -> tuple[torch.Tensor, ...]:
                with torch.no_grad():
                    return several(function(*inputs))

            return run
        if which == "both":
            return lambda: torch.autograd.grad(several(function(*leaves)), leaves, cotangents)
        outputs = several(function(*leaves))
        return lambda: torch.autograd.grad(outputs, leaves, cotangents, retain_graph=True)

    def compare(
        self,
        name: str,
        which: str,
        sides: Mapping[str, Factory],
        leaves: Sequence[torch.Tensor],
        exact: Function,
        *,
        cotangents: Sequence[torch.Tensor] | None = None,
        slices: Callable[[tuple[torch.Tensor, ...]], Iterable[torch.Tensor]] = lambda outputs: outputs,
        given: Sequence[torch.Tensor] | None = None,
        copy_of: torch.Tensor | None = None,
        memory: bool = False,
    ) -> Run:
        """Measure one subject.

        Args:
            name: what the rows are called.
            which: one of WHICH.
            sides: ours first.
            leaves: the inputs.
            exact: the operation in plain torch; it is given the leaves in float32.
            cotangents: of the outputs; random ones of the exact outputs' shapes by default.
            slices: what is compared with the exact answer, where all of it would not fit the memory.
            given: the leaves that `exact` gets instead, where that answers a slice only.
            copy_of: a tensor that is copied as the floor; the samples get `percent` of its speed.
            memory: measure `peak_mb` too.
        """
        wide = [x.detach().float().requires_grad_() for x in (leaves if given is None else given)]
        if cotangents is None:
            with torch.no_grad():
                shapes = [y.shape for y in several(exact(*wide))]
            cotangents = [self.random(*shape).detach() for shape in shapes]
        parts = list(slices(tuple(cotangents))) if given is not None else list(cotangents)
        answer = self.work(which, exact, wide, [c.float() for c in parts])()
        runs: dict[str, Function] = {}
        missing: dict[str, str] = {}
        ours = next(iter(sides))
        for side, make in sides.items():
            try:
                # some peers write their gradients over what they are given
                run = self.work(which, make(), leaves, [c.clone() for c in cotangents])
                found = several(run())
            except self.unavailable as reason:
                if side == ours:
                    raise
                missing[side] = str(reason).strip().splitlines()[0][:80] or type(reason).__name__
                continue
            bound = BOUND if side == ours else SLACK * BOUND
            wrong = [error(mine, right) for mine, right in zip(slices(found), answer, strict=True)]
            if not max(wrong) <= bound and side in self.doubted:
                missing[side] = "is not run in an interpreter"
                continue
            if not max(wrong) <= bound:
                pytest.fail(f"{name}: {side} is {max(wrong):.1e} from the exact result: nothing was timed")
            runs[side] = run
        del answer
        return self._timed(name, runs, missing, copy_of, memory)

    def _timed(
        self, name: str, runs: dict[str, Function], missing: dict[str, str], copy_of: torch.Tensor | None, memory: bool
    ) -> Run:
        samples: dict[str, list[dict[str, Any]]] = {side: [] for side in runs}
        peaks = {side: self.peak_mb(run) for side, run in runs.items()} if memory else {}
        copied = torch.empty_like(copy_of) if copy_of is not None else None

        def one_round() -> None:
            floor = self.seconds(lambda: copied.copy_(copy_of)) if copied is not None and copy_of is not None else 0.0
            for side, run in runs.items():
                took = self.seconds(run)
                samples[side].append({"seconds": took, "percent": 100 * floor / took, "peak_mb": peaks.get(side)})

        self.benchmark.pedantic(one_round, rounds=self.rounds, iterations=1, warmup_rounds=1)
        for values in samples.values():
            del values[: len(values) - self.rounds]  # the warm-up
        versions = {side: _version(PACKAGES.get(side, "torch")) for side in runs}
        return Run(name, samples, missing, versions, lambda row: self.report.add(self.subject, row))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"


class Rehearsal(Gpu):
    """The same on a CPU, with Triton's interpreter: it proves every name and argument, and says nothing of time."""

    device = "cpu"
    doubted = ("Liger",)  # its kernels count on a GPU's types
    rounds = 1

    def __init__(self, subject: str, report: Report, benchmark: Any) -> None:
        """Nothing but Triton's interpreter may be unable to run a kernel."""
        from triton.runtime.errors import InterpreterError

        super().__init__(subject, report, benchmark)
        self.unavailable = (*UNAVAILABLE, InterpreterError)

    def compile(self, function: Function) -> Function:
        """Traced, and run as it stands."""
        torch._dynamo.reset()  # many shapes of one function
        return torch.compile(function, dynamic=False, backend="eager")  # type: ignore[no-any-return]

    def seconds(self, run: Callable[[], Any]) -> float:
        """One call by the wall's clock."""
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    def peak_mb(self, run: Callable[[], Any]) -> float:
        """A number."""
        run()
        return 1.0
