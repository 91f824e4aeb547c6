"""A training on the machines of a Ray cluster, which see the same files under the same names: Ray starts the ranks.

A worker of Ray's starts the command line as a process of its own, and says where the ranks meet. Where a worker or its
machine dies, Ray starts all of them anew, and the run goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pylm.data.cluster import connected
from pylm.errors import PylmError, UsageError
from pylm.training.launch.codes import can_start_again, code_of_all
from pylm.wording import param

__all__ = ["train_on_ray"]


def train_on_ray(
    address: str, command: Sequence[str], out: Path, ranks: int | None, *, on_cpu: bool, max_restarts: int
) -> int:
    """Run a command once a rank until all have left, and return the one code of all.

    Args:
        address: of the cluster; `auto` is the one that this machine belongs to.
        command: the program and its words.
        out: folder of the run.
        ranks: processes; None: one for each GPU of the cluster, or for each machine where none is wanted.
        on_cpu: whether no GPU is wanted.
        max_restarts: how often all are started again after one was lost.
    """
    ray = connected(address, shows=True)
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise UsageError(f"{param('ray')} needs Ray Train: {error}", "pip install 'ray[train]'") from None
    there = sum(bool(node["Alive"]) for node in ray.nodes()) if on_cpu else int(ray.cluster_resources().get("GPU", 0))
    if (ranks or there) < 1 or (not on_cpu and (ranks or 0) > there):
        raise UsageError(f"the cluster has {there} GPUs", f"{param('gpus', there or 2)}, {param('device', 'cpu')}")
    aside = out.absolute().with_name(f".{out.name}.ray")
    work: Any = run_rank  # the stubs know no loop that returns anything
    trainer = TorchTrainer(
        work,
        train_loop_config={"command": list(command), "place": os.getcwd()},
        torch_config=TorchConfig(backend="gloo"),  # only to say where the ranks meet
        scaling_config=ScalingConfig(num_workers=ranks or there, use_gpu=not on_cpu),
        run_config=RunConfig(out.name, str(aside), failure_config=FailureConfig(max_restarts)),
    )
    try:
        ended: Any = trainer.fit()
        return int(ended.return_value)
    except ray.exceptions.RayError as error:
        raise PylmError(f"the cluster gave the run up: {str(error).splitlines()[0]}", "the same line goes on") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def run_rank(given: dict[str, Any]) -> int:
    """Run the command in a process that is a rank, and return its code; raise where all are to start again."""
    os.chdir(given["place"])
    environ = {**os.environ, "MASTER_PORT": str(_meeting_port()), "TORCHELASTIC_RESTART_COUNT": "1"}
    environ.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    rank = int(environ["RANK"])
    silent = None if rank == 0 else subprocess.DEVNULL
    code = subprocess.run(given["command"], env=environ, stdout=silent, stderr=silent, check=False).returncode
    if can_start_again({rank: code}):
        raise RuntimeError(f"rank {rank} is gone ({code})")
    return code_of_all({rank: code})


def _meeting_port() -> int:
    """Return a port that is free on the machine of the first rank, which it tells the others."""
    import torch
    from torch import distributed

    port = torch.zeros(1, dtype=torch.int64)
    if distributed.get_rank() == 0:
        with socket.create_server(("", 0)) as free:
            port[0] = free.getsockname()[1]
    distributed.broadcast(port, 0)
    distributed.destroy_process_group()
    return int(port)
