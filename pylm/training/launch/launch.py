"""One command line, several processes: what is started is the same line, once a device, with the run's folder named."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pylm.errors import CheckpointError, UsageError
from pylm.wording import in_options, param

if TYPE_CHECKING:
    from pylm.training.request import Request

__all__ = ["MAX_RESTARTS", "command_of", "device_of", "folder_of", "launch", "with_folder"]

MAX_RESTARTS = 3
PROCESSES_OF_A_CORE = 4  # at most, each of which holds 0.8 GB before its model: more of them is a slip of the finger
LOOPBACK = {"darwin": "lo0"}


def launch(
    request: Request,
    gpus: int,
    *,
    nodes: str | None = None,
    max_restarts: int = MAX_RESTARTS,
    say: Callable[[str], None] = lambda text: None,
) -> int:
    """Train what was asked for with a process for each of so many devices; return the one exit code of all.

    Args:
        request: with the words of the command line, which each process is started with.
        gpus: devices of this machine; processes, where `device` is cpu.
        nodes: the machines that train together, the first of which holds the store; None: this one alone.
        max_restarts: how often all are started again after one was killed.
        say: hears what happens to the processes.
    """
    if max_restarts < 0:
        raise UsageError(f"{param('max_restarts', max_restarts)} is no number of new starts", "0 starts none again")
    if nodes is not None and request.out is None and request.resume is None:
        raise UsageError("machines that train together write to one folder", f"name it: {param('out', 'runs/x')}")
    out = folder_of(request)
    _check_devices(device_of(request, out), gpus)
    threads = max(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, gpus)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads // gpus))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a store that is gone was thirty lines of frames in C++
    if nodes is None:
        for of in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{of}_SOCKET_IFNAME", LOOPBACK.get(sys.platform, "lo"))
    from pylm.training.launch.agent import run_agent
    from pylm.training.launch.store import meeting

    handler, _ = meeting(nodes)
    return run_agent(command_of(request, out), gpus, handler, max_restarts=max_restarts, say=say)


def folder_of(request: Request) -> Path:
    """Return the folder of the run, which every process and every new start has to agree on."""
    from pylm.checkpoint import find, newest_run

    if request.out is not None:
        return request.out
    if request.resume == "auto":
        try:
            return newest_run()
        except CheckpointError:
            pass  # there is none to go on with: this begins one
    elif request.resume is not None:
        return find(request.resume).parent.parent
    given = request.given
    sources = (given.preset, *given.files[-1:], *map(str, request.names[-1:]), request.data, "run")
    name = Path(next(source for source in sources if source)).stem
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def with_folder(request: Request, out: Path) -> tuple[str, ...]:
    """Return the words of the command line that asked, with the folder of the run among them."""
    named = () if request.out is not None else shlex.split(in_options(param("out", out)))
    command, *words = request.argv or ("train",)
    return command, *named, *words


def command_of(request: Request, out: Path) -> tuple[str, ...]:
    """Return what each process is started with."""
    return sys.executable, "-m", "pylm", *with_folder(request, out)


def device_of(request: Request, out: Path) -> str:
    """Return what is asked to compute: cpu, cuda, or what trains on one device only."""
    from pylm.model.which import prefers_mlx

    train = replace(request, out=out).with_begun().resolve().config.train
    if train.backend == "mlx" or (train.backend == "auto" and prefers_mlx(train.device)):
        return "mlx"
    return train.device


def _check_devices(device: str, gpus: int) -> None:
    """Refuse more devices than there are, and those that train alone."""
    if gpus < 1:
        raise UsageError(f"{param('gpus', gpus)} is no number of devices", "1 is one process")
    if device in ("mlx", "mps") and gpus > 1:
        raise UsageError(
            f"{'MLX' if device == 'mlx' else 'MPS'} trains on one device, not on {gpus}", f"leave {param('gpus')} out"
        )
    if device == "cpu":
        if gpus > (most := PROCESSES_OF_A_CORE * (os.cpu_count() or 1)):
            raise UsageError(f"{param('gpus', gpus)}: this machine has {os.cpu_count()} cores", param("gpus", most))
        return
    if ":" in device:
        raise UsageError(
            f"{param('device', device)} is one device, and {param('gpus', gpus)} are several", param("device", "cuda")
        )
    import torch
    from torch import distributed

    there = torch.cuda.device_count()
    if there < gpus:
        have = f"{there} GPU{'s' * (there != 1)}" if there else "no GPU that torch reaches"
        hint = (
            param("gpus", there) if there else f"{param('device', 'cpu')} trains on its processor, in {gpus} processes"
        )
        raise UsageError(f"{param('gpus', gpus)}: this machine has {have}", hint)
    if gpus > 1 and not distributed.is_nccl_available():
        raise UsageError(
            "this torch has no NCCL, by which GPUs speak with one another", "pip install a torch that is built for CUDA"
        )
