"""Everything that a Triton launch needs: where it may run, which configuration, how many programs.

The kernels are bare `@triton.jit` functions with a table of configurations (configurations.json): `@triton.autotune`
needs a driver even to import, and its search makes the first step of a run slow and its results depend on the machine.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

SERVED = (torch.float32, torch.bfloat16, torch.float16)


def interpreting() -> bool:
    """Say whether Triton runs its kernels in Python, on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def serves(device: str, dtype: torch.dtype, facts: Mapping[str, Any]) -> str | None:
    """Return why Triton cannot run on this device and dtype, or None where it can."""
    if facts:
        return None
    if not _installed():
        return "triton is not installed (pip install triton, on Linux)"
    if interpreting():
        return None if device == "cpu" else "TRITON_INTERPRET=1 runs kernels on CPU tensors"
    if device != "cuda":
        return f"Triton has no driver for {device} tensors; TRITON_INTERPRET=1 interprets its kernels on a CPU"
    return None if dtype in SERVED else f"{dtype} is left to the reference on a GPU"


@functools.cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(Path(__file__).with_name("configurations.json").read_text(encoding="utf-8"))
    return table


@functools.cache
def architecture(device: torch.device) -> str:
    """Return the name under which the table holds this device, such as sm_90, gfx942 or interpreter."""
    if device.type != "cuda":
        return "interpreter"
    if torch.version.hip:
        return str(torch.cuda.get_device_properties(device).gcnArchName).split(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def configuration(kernel: str, architecture: str, size: int) -> dict[str, int]:
    """Return tile sizes, warps and stages for a kernel.

    They are the entry of this architecture with the smallest size that holds ours.

    An architecture without an entry of its own takes the default, which fits 99 KB of shared memory.
    """
    return dict(_entry(kernel, architecture, size))


@functools.cache
def _entry(kernel: str, architecture: str, size: int) -> dict[str, int]:
    entries = _table()[kernel]
    rows: dict[str, dict[str, int]] = entries.get(architecture, entries["default"])
    fits = [limit for limit in sorted(rows, key=int) if size <= int(limit)]
    return rows[fits[0] if fits else max(rows, key=int)]


@functools.cache
def processors(device: torch.device) -> int:
    """Return how many multiprocessors there are; 2 where the interpreter plays the GPU."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2


def on(x: torch.Tensor) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which the tensor's GPU is the current one, for Triton launches there."""
    return torch.cuda.device(x.device) if x.device.type == "cuda" else contextlib.nullcontext()


GRID = 65535  # programs in any dimension of a grid but the first
REACH = 2**31  # elements that a kernel's 32-bit offsets reach within a row


def shares(heads: int, *tensors: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the tensors, all [B, …] or None, in slices of the batch whose heads fit the second dimension of a grid.

    There are as many launches as slices.
    """
    batch = tensors[0].shape[0]
    if batch * heads <= GRID:
        yield tensors
        return
    most = max(GRID // heads, 1)
    for at in range(0, batch, most):
        yield tuple(None if x is None else x[at : at + most] for x in tensors)


class Strides(NamedTuple):
    """The strides of a tensor [B, T, heads, D], which kernels take as one argument.

    Triton passes the three numbers of such a tuple, and what it compiles is the same as for three arguments, for every
    GPU in tests/ahead_of_time.py. Kernels' other arguments stand alone: pointers are moved as a kernel goes (`K += …`),
    which a field cannot be, and constants are told apart from numbers by their own names.
    """

    b: int
    t: int
    h: int


def strides(x: torch.Tensor) -> Strides:
    """Return the steps from a row of the batch, a position and a head to the next one."""
    return Strides(*x.stride()[:3])


def last_contiguous(x: torch.Tensor) -> torch.Tensor:
    """Return the tensor, copied only where a head's own dimensions are not next to each other."""
    return x if x.stride(-1) == 1 or x.shape[-1] <= 1 else x.contiguous()


def within_reach(x: torch.Tensor) -> torch.Tensor:
    """Return [B, T, heads, D] whose positions are within 32-bit offsets of a row's start.

    It is copied, one head after the other, only where they are not.
    """
    return x if x.shape[1] * x.stride(1) < REACH else x.transpose(1, 2).contiguous().transpose(1, 2)


def rows_of(x: torch.Tensor) -> torch.Tensor:
    """Return the tensor as rows with a contiguous last dimension: a view where its strides allow, else a copy."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(-1) == 1 or rows.shape[-1] <= 1 else rows.contiguous()


def power_of_2(n: int) -> int:
    """Return the smallest power of two that is at least n."""
    return 1 << max(n - 1, 0).bit_length()
