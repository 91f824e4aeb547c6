"""Several processes on this machine that train together: forked from one that has imported torch already."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["in_ranks"]

PATIENCE = 60.0  # seconds that a process may take on a busy machine
IMPORTED = ["torch", "pylm.training.torch_backend.parallel", "pylm.training.run", "pylm.training.session"]


def in_ranks(size: int, work: Callable[..., Any], *args: Any, timeout: float = 30.0) -> list[Any]:
    """Return what `work(group, *args)` gives in each of so many processes; an exception is given as its text.

    They meet in a file and have one thread each.
    """
    os.environ["CUDA_VISIBLE_DEVICES"], before = "", os.environ.get("CUDA_VISIBLE_DEVICES")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe(duplex=False) for _ in range(size)]
        processes = [
            context.Process(target=_rank, args=(rank, size, folder, timeout, pipes[rank][1], work, args))
            for rank in range(size)
        ]
        try:
            for process in processes:
                process.start()
            for _, sender in pipes:
                sender.close()
            found = [receiver.recv() if receiver.poll(PATIENCE) else "it gave nothing" for receiver, _ in pipes]
        finally:
            for process in processes:
                process.join(PATIENCE if process.is_alive() else 1)
                process.kill()
            os.environ.pop("CUDA_VISIBLE_DEVICES") if before is None else os.environ.update(CUDA_VISIBLE_DEVICES=before)
    for one in found:
        if isinstance(one, tuple) and len(one) == 2 and one[0] is _Failed:
            raise AssertionError(one[1])
    return found


class _Failed:
    """Marks the traceback of a process that failed."""


def _rank(rank: int, size: int, folder: str, timeout: float, sender: Any, work: Any, args: Any) -> None:
    import torch
    import torch.distributed as dist

    from pylm.training.torch_backend.parallel import Group
    from pylm.training.world import World

    torch.set_num_threads(1)
    try:
        store = dist.FileStore(str(Path(folder) / "store"), size) if size > 1 else None
        group = Group(World(rank, size, rank, size), timeout, store)
        sender.send(work(group, *args))
        group.close()
    except BaseException:  # noqa: BLE001 - told to the test
        sender.send((_Failed, traceback.format_exc()))
