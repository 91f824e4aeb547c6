"""Several processes on this machine that train together: forked from one that has imported torch already."""

from __future__ import annotations

import multiprocessing
import os
import socket
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["in_ranks", "in_world", "lines"]

PATIENCE = 60.0  # seconds that a process may take on a busy machine
IMPORTED = ["tests.support.preloaded"]


def in_ranks(size: int, work: Callable[..., Any], *args: Any, timeout: float = 30.0) -> list[Any]:
    """Return what `work(group, *args)` gives in each of so many processes, which meet in a file.

    Each has one thread. Where one fails, its traceback is raised.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _started(size, _in_group, size, Path(folder) / "store", timeout, work, args)


def in_world(size: int, work: Callable[..., Any], *args: Any) -> list[Any]:
    """Return what `work(*args)` gives in each of so many processes, in the environment that torchrun would set."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return _started(size, _in_environment, size, port, work, args)


def _started(size: int, work: Callable[..., Any], *args: Any) -> list[Any]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    pipes = [context.Pipe(duplex=False) for _ in range(size)]
    processes = [context.Process(target=_rank, args=(pipe[1], work, rank, *args)) for rank, pipe in enumerate(pipes)]
    hidden = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in hidden}
    os.environ.update(hidden)  # of the process that they are forked from
    try:
        for process in processes:
            process.start()
        for _, sender in pipes:
            sender.close()
        found = [_received(receiver) for receiver, _ in pipes]
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        for process in processes:
            process.join(5)
            process.kill()
    for worked, value in found:
        if not worked:
            raise AssertionError(value)
    return [value for _, value in found]


def _received(receiver: Any) -> tuple[bool, Any]:
    try:
        return receiver.recv() if receiver.poll(PATIENCE) else (False, "a process gave nothing in time")
    except EOFError:
        return False, "a process ended without a word"


def _rank(sender: Any, work: Callable[..., Any], *args: Any) -> None:
    import torch

    torch.set_num_threads(1)
    try:
        sender.send((True, work(*args)))
    except BaseException:  # noqa: BLE001 - told to the test
        sender.send((False, traceback.format_exc()))


def _in_group(rank: int, size: int, meeting: Path, timeout: float, work: Callable[..., Any], args: Any) -> Any:
    import torch.distributed as dist

    from pylm.training.torch_backend.parallel import Group
    from pylm.training.world import World

    group = Group(World(rank, size, rank, size), timeout, dist.FileStore(str(meeting), size) if size > 1 else None)
    try:
        return work(group, *args)
    finally:
        group.close()


def _in_environment(rank: int, size: int, port: int, work: Callable[..., Any], args: Any) -> Any:
    names = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()}, MASTER_ADDR="127.0.0.1")
    return work(*args)


def lines(run: str, *keys: str) -> np.ndarray:
    """Return figures of a run, a row a line of metrics.jsonl; NaN where a line has none."""
    import pylm

    return np.array([[record.get(key, np.nan) for key in keys] for record in pylm.Run(run).metrics()], float)
