"""The machine under torch: which device, which precision, memory that is kept, and what is remembered between runs."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from pylm import native_kernels
from pylm.errors import ConfigError, UsageError
from pylm.host import processor_name
from pylm.training.remembered import flops_of_product, largest_flops
from pylm.training.world import World
from pylm.wording import param
from pylm_kernels import dispatch

__all__ = ["DTYPES", "FIRST_STEP_LOADS", "choose_device", "choose_precision", "device_among", "device_memory",
           "device_name", "facts",
           "free_device_memory", "has_fast_bf16", "has_head_kernel", "keep_memory", "known_matmul_flops",
           "matmul_flops", "obey_thread_limit", "sees_cuda", "total_memory", "wait"]  # fmt: skip

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FIRST_STEP_LOADS = 30 << 20  # bytes, about: what a process gains by its first step, beside tensors
BF16_FEATURES = {"avx512_bf16", "amx_bf16", "sve_bf16", "bf16"}
# mallopt's names of what is set (malloc.h), and what to: memory that was freed is kept for the next step
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_memory() -> bool:
    """Tell glibc not to give freed memory back: large tensors would fault in page by page again at every step.

    Measured to make training on a CPU 1.2 to 2 times as fast. To be called before the first tensor.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another libc
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 256 << 20))
    return all([mallopt(name, value) == 1 for name, value in settings])


def obey_thread_limit() -> None:
    """Have torch ask for no more threads than OMP_THREAD_LIMIT gives a process.

    Where it asks for more, its products in bf16 come out wrong and without a word: NaN, with two threads and a limit
    of one (torch 2.13 with oneDNN).
    """
    limit = os.environ.get("OMP_THREAD_LIMIT", "")
    if limit.isdigit() and 0 < int(limit) < torch.get_num_threads():
        torch.set_num_threads(int(limit))


def sees_cuda() -> bool:
    """Return whether torch sees a CUDA device."""
    return torch.cuda.is_available()


def free_device_memory(indices: Iterable[int]) -> int:
    """Return the bytes that are free on whichever CUDA device of some has least, of those that are here."""
    here = [index for index in indices if index < torch.cuda.device_count()]
    return min(int(torch.cuda.mem_get_info(index)[0]) for index in here)


def has_fast_bf16() -> bool:
    """Return whether this CPU multiplies bfloat16 in hardware."""
    return bool(BF16_FEATURES & set(native_kernels.cpu_info()["features"]))


def has_head_kernel(precision: str) -> bool:
    """Return whether the head's kernel serves a CPU in this precision; the reference stores all logits."""
    return any(
        choice.backend == "cpu"
        for choice in dispatch.backends()
        if choice.operation == "linear_cross_entropy"
        and choice.device == "cpu"
        and choice.dtype == str(DTYPES[precision]).removeprefix("torch.")
    )


def choose_device(asked: str) -> torch.device:
    """Return the device that a name means here; `auto` is the fastest there is."""
    if asked == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(kind, 0) if kind == "cuda" else torch.device(kind)
    device = torch.device(asked)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not count:
            raise UsageError(
                f"{param('device', asked)}: torch sees no CUDA device here",
                f"pylm doctor says why; or {param('device', 'cpu')}",
            )
        if (device.index or 0) >= count:
            raise UsageError(
                f"{param('device', asked)}: there are {count}, counted from 0", param("device", f"cuda:{count - 1}")
            )
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"{param('device', 'mps')}: torch sees no Apple GPU here", param("device", "cpu"))
    return device


def device_among(asked: str, world: World) -> str:
    """Return the device of this process where several compute together: a GPU each, or the CPU that they share."""
    device = choose_device(asked)
    if device.type == "mps":
        raise UsageError(f"an Apple GPU trains in one process, and {world.size} were started", "start one")
    if device.type != "cuda":
        return device.type
    if ":" in asked:
        raise UsageError(
            f"{param('device', asked)} names one GPU, and {world.size} processes have one each", param("device", "cuda")
        )
    if world.local_size > (count := torch.cuda.device_count()):
        raise UsageError(
            f"{world.local_size} processes were started here, and there {'is' if count == 1 else 'are'} {count} "
            f"GPU{'' if count == 1 else 's'}",
            f"start {count} here, or {param('device', 'cpu')}",
        )
    if not torch.distributed.is_nccl_available():
        raise UsageError("this torch has no NCCL, by which GPUs talk to each other", "install one built with it")
    torch.cuda.set_device(world.local_rank)
    return f"cuda:{world.local_rank}"


def choose_precision(asked: str, device: torch.device) -> str:
    """Return what is computed in: bfloat16 where the device has it in hardware, else float16 on GPUs, else float32."""
    if device.type == "cuda":
        has_bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
    elif device.type == "cpu":
        has_bf16 = has_fast_bf16()
    else:
        has_bf16 = False
    if asked == "auto":
        return "bf16" if has_bf16 else "fp16" if device.type == "cuda" else "fp32"
    if asked == "bf16" and device.type == "cuda" and not has_bf16:
        raise ConfigError(f"train.precision bf16: {device_name(device)} has none", "precision fp16, or auto")
    return asked


def device_name(device: torch.device) -> str:
    """Return what the device is called."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return processor_name()
    return f"Apple {platform.machine()}"


def total_memory() -> int:
    """Return the bytes of the machine's memory, or those that this process's group may have."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):  # no such group, or no limit
            continue
    return total


def device_memory(device: torch.device) -> int:
    """Return the bytes of memory that the device has; where it is the CPU, nobody counts."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return sys.maxsize


def wait(device: torch.device) -> None:
    """Wait until the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def facts(device: torch.device) -> dict[str, Any]:
    """Return what a bitwise resume depends on, beside the configuration."""
    known: dict[str, Any] = {
        "backend": "torch",
        "torch": torch.__version__,
        "device": device.type,
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "kernels": {
            choice.operation: choice.backend
            for choice in dispatch.backends()
            if choice.device == device.type and choice.dtype == "bfloat16"
        },
    }
    if device.type == "cpu":
        known["cpu_variant"] = native_kernels.cpu_info()["variant"]
    return known


def compiler() -> list[Any]:
    """Return what torch.compile would use, Triton and a C++ compiler, each by place, size and time of change."""
    triton = importlib.util.find_spec("triton")
    names = (os.environ["CXX"],) if "CXX" in os.environ else ("g++", "clang++")
    paths = [triton.origin if triton else None, next(filter(None, map(shutil.which, names)), None)]
    return [[path, os.stat(path).st_size, os.stat(path).st_mtime_ns] if path else None for path in paths]


def matmul_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the most FLOPs a second that plain matrix products reach here: what MFU is measured against."""
    # as small as still reaches the peak: without tensor cores that is sooner
    size = 1024 if device.type != "cuda" else 4096 if dtype == torch.float32 else 8192
    if device.type == "cpu" and dtype == torch.float16:
        dtype = torch.float32  # a CPU without products in float16 computes them in a loop: its peak is another's
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)

    def multiply() -> None:
        torch.mm(a, b)
        wait(device)

    return flops_of_product(multiply, 2 * size**3)


def known_matmul_flops(device: torch.device, precision: str, say: Callable[[str], None]) -> float:
    """Return the FLOPs a second of plain matrix products here, as pylm.training.remembered.largest_flops knows them."""
    key = f"matmul {device_name(device)} {precision} {torch.get_num_threads()} {torch.__version__}"
    return largest_flops(key, lambda: matmul_flops(device, DTYPES[precision]), say)
