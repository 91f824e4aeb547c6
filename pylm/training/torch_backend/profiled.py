"""A backend whose steps torch's profiler watches, for a while."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from pylm.config.units import counted
from pylm.native_kernels.named import named_in_profiles
from pylm.training.backend import Backend, MicroBatch, StepResult

__all__ = ["Profiled"]

BEFORE, WARM = 3, 1  # steps that are not watched: the first allocate, and the profiler's own first step is slow
ROWS = 60  # of the table
TRACE, TABLE = "trace.json.gz", "kernels.txt"


class Profiled:
    """Everything of the backend that it is given, and a profile of its steps written once so many were taken."""

    def __init__(self, backend: Backend, folder: Path, steps: int, say: Callable[[str], None]) -> None:
        """Watch nothing yet."""
        self._backend, self._folder, self._steps, self._say = backend, folder, steps, say
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would write to the terminal that it starts and ends
        self._taken = 0
        self._watching = ExitStack()
        self._profiler: Any = None

    def __getattr__(self, name: str) -> Any:
        """Return what the backend has."""
        return getattr(self._backend, name)

    def step(self, micro_batches: Sequence[MicroBatch], lr: float) -> StepResult:
        """Take a step, watched where it is one of those."""
        if self._taken == BEFORE:
            self._begin()
        result = self._backend.step(micro_batches, lr)
        self._taken += 1
        if self._profiler is not None:
            self._profiler.step()
        if self._taken == BEFORE + WARM + self._steps:
            self._end()
        return result

    def __enter__(self) -> Profiled:
        """Return it, for `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write what was watched, where the run ends before all was."""
        if self._taken <= BEFORE + WARM:
            self._say(f"nothing is profiled: the run ended within its first {BEFORE + WARM} steps, which are not")
        if self._profiler is not None:
            self._end()

    def _begin(self) -> None:
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self._watching.enter_context(named_in_profiles())
        self._profiler = self._watching.enter_context(profile(
            activities=activities, schedule=schedule(wait=0, warmup=WARM, active=self._steps, repeat=1),
            on_trace_ready=self._write, acc_events=True,
        ))  # fmt: skip

    def _end(self) -> None:
        self._watching.close()  # which writes
        self._profiler = None

    def _write(self, profiler: Any) -> None:
        steps = self._taken - BEFORE - WARM
        if steps < 1:  # what it holds came after the steps
            return
        self._folder.mkdir(exist_ok=True)
        profiler.export_chrome_trace(str(self._folder / TRACE))
        (self._folder / TABLE).write_text(table(profiler.key_averages(), steps), encoding="utf-8")
        trace, kernels = self._folder / TRACE, self._folder / TABLE
        are = "is" if steps == 1 else "are"
        self._say(f"{counted(steps, 'step')} {are} profiled: {trace}, which Perfetto opens, and {kernels}")


def table(averages: Sequence[Any], steps: int) -> str:
    """Return what took how long by itself, a line a kernel, the longest first; times are of one step."""
    rows = [(one.key, one.count / steps, one.self_cpu_time_total / steps, _on_device(one) / steps) for one in averages]
    device = any(row[3] for row in rows)
    which = 3 if device else 2
    whole = sum(row[which] for row in rows) or 1.0
    lines = [f"{'kernel':<60} {'calls':>8} {'CPU ms':>10} {'device ms':>10} {'share':>7}"]
    for name, calls, cpu, on_device in sorted(rows, key=lambda row: -row[which])[:ROWS]:
        share = (on_device if device else cpu) / whole
        lines.append(f"{name[:60]:<60} {calls:>8.4g} {cpu / 1e3:>10.3f} {on_device / 1e3:>10.3f} {share:>7.1%}")
    return "\n".join(lines) + "\n"


def _on_device(row: Any) -> float:
    time: float = row.self_device_time_total
    return time
