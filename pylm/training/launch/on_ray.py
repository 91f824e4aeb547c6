"""A training on the machines of a Ray cluster, which see the same files under the same names: Ray starts the ranks.

A worker of Ray's starts the command line as a process of its own, and says where the ranks meet. Where a worker or its
machine dies, Ray starts all of them anew, and the run goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from pylm.data.cluster import connected, cores_of_a_machine, machines_of
from pylm.errors import PylmError, UsageError
from pylm.training.launch.codes import GOES_ON, can_start_again, code_of_all, ended_by
from pylm.training.launch.relay import SETTLING, asked_to_leave, launcher, left_by_themselves, run_as_told, tell
from pylm.wording import param

__all__ = ["train_on_ray"]

Say = Callable[[str], None]


def train_on_ray(
    address: str, command: Sequence[str], out: Path, ranks: int | None, *, on_cpu: bool, max_restarts: int, say: Say
) -> int:
    """Run a command once a rank until all have left, and return the one code of all.

    Args:
        address: of the cluster; `auto` is the one that this machine belongs to.
        command: the program and its words.
        out: folder of the run.
        ranks: processes; None: one for each GPU of the cluster, or for each machine where none is wanted.
        on_cpu: whether no GPU is wanted.
        max_restarts: how often all are started again after one was lost.
        say: hears that the cluster lets them wait.
    """
    ray, work = connected(address), cast("Any", run_rank)  # the stubs know no loop that returns anything
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise UsageError(f"{param('ray')} needs Ray Train: {error}", "pip install 'ray[train]'") from None
    machines, kind = machines_of(ray), "CPU" if on_cpu else "GPU"
    there = int(ray.cluster_resources().get(kind, 0))
    wanted = ranks if ranks is not None else machines if on_cpu else there
    if not 1 <= wanted <= there:
        raise UsageError(f"the cluster has {there} {kind}s", f"{param('gpus', there or 2)}, {param('device', 'cpu')}")
    each = {"CPU": max(cores_of_a_machine(ray) * machines // wanted, 1)} if on_cpu else {"CPU": 1, "GPU": 1}
    with launcher(out.absolute()) as here:
        trainer = TorchTrainer(
            work,
            train_loop_config={"command": list(command), "place": os.getcwd(), "folder": str(here.folder)},
            torch_config=TorchConfig(backend="gloo"),  # only to say where the ranks meet
            scaling_config=ScalingConfig(num_workers=wanted, use_gpu=not on_cpu, resources_per_worker=each),
            run_config=RunConfig(out.name, str(here.folder), failure_config=FailureConfig(max_restarts)),
        )
        late = f"the cluster has not started {wanted} processes yet, each of which takes {each}"
        try:
            ended: Any = here.attend(trainer.fit, lambda: say(late))
            return int(ended.return_value)
        except (ray.exceptions.RayError, TrainingFailedError) as error:
            last = str(error).strip().rpartition("\n")[2].removeprefix("RuntimeError: ")  # the rest is a traceback
            raise PylmError(f"the cluster gave the run up: {last}", GOES_ON) from None


def run_rank(given: dict[str, Any]) -> int:
    """Run the command in a process that is a rank, and return the code of all; raise where they are to start again."""
    os.chdir(given["place"])
    folder, rank = Path(given["folder"]), int(os.environ["RANK"])
    before = left_by_themselves(folder)  # in an earlier start, whose end Ray took for none
    if (said := _first_says(asked_to_leave(folder))) > 0:
        return said
    os.environ.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    environ = {**os.environ, "MASTER_PORT": str(-said), "TORCHELASTIC_RESTART_COUNT": "1"}
    code = run_as_told(given["command"], environ, folder, rank)
    if not can_start_again({rank: code}):
        return code_of_all(dict(enumerate(left_by_themselves(folder)[len(before) :] or [code])))
    time.sleep(SETTLING)
    if others := left_by_themselves(folder)[len(before) :]:
        return others[0]
    if code < 0:  # those that lost it say nothing
        tell(folder, ended_by({rank: code}))
    raise RuntimeError(ended_by({rank: code}))


def _first_says(asked: int) -> int:
    """Return what the first rank is asked, or less than nothing: a port that is free there, for all to meet at."""
    import torch
    from torch import distributed

    with socket.create_server(("", 0)) as free:
        told = torch.tensor([asked or -free.getsockname()[1]])
    distributed.broadcast(told, 0)
    distributed.destroy_process_group()
    return int(told)
