"""The options by which a training is started in several processes, and the way of each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pylm.errors import PylmError, UsageError
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.training.request import Request

__all__ = ["first_speaks", "launch_options", "start_several"]

SPOKEN = 1.0  # seconds that the other processes wait for the first
Function = TypeVar("Function", bound=Callable[..., Any])


def launch_options(function: Function) -> Function:
    """Give a command the options that start it more than once."""
    options = (
        click.option("--gpus", type=int, metavar="N", help="Train on so many GPUs of this machine, a process each."),
        click.option("--nodes", metavar="NAME,…", help="With --gpus on each of these machines: NAME[:PORT],NAME…."),
        click.option(
            "--max-restarts", type=int, metavar="N", help="New starts after a process was killed.  [default: 3]"
        ),
        click.option(
            "--ray",
            is_flag=False,
            flag_value="auto",
            metavar="[auto|ADDRESS]",
            help="Train on a Ray cluster: on all of its GPUs, or on --gpus of them.",
        ),
        click.option(
            "--slurm",
            is_flag=False,
            flag_value="1",
            type=int,
            metavar="[MACHINES]",
            help="Print the file of a Slurm job on so many machines.  [default: 1]",
        ),
        click.option("--submit", is_flag=True, show_default=False, help="Hand that job in."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def start_several(
    request: Request,
    gpus: int | None,
    nodes: str | None,
    ray: str | None,
    max_restarts: int | None,
    slurm: int | None,
    submit: bool,
) -> None:
    """Start the same line in several processes and leave with their code; do nothing where this one is to train."""
    from pylm.training.launch.launch import MAX_RESTARTS
    from pylm.training.world import World

    if submit and slurm is None:
        raise UsageError(f"{param('submit')} goes with {param('slurm')}", f"such as {param('slurm', 2)}")
    if nodes is not None and (ray or slurm):
        raise UsageError(f"{param('nodes', nodes)}, and a cluster names its machines", "leave it out")
    if ray is not None and slurm is not None:
        raise UsageError(f"{param('ray')} and {param('slurm')} both name a cluster", "give one of the two")
    most = MAX_RESTARTS if max_restarts is None else max_restarts
    if slurm is not None:
        _job(request, 1 if gpus is None else gpus, slurm, submit)
    elif "WORLD_SIZE" in os.environ:
        here = World.of_environment().local_size
        if gpus not in (None, here) and ray is None:
            raise UsageError(
                f"{param('gpus', gpus)}, and a launcher started {here} processes here", "leave one of the two out"
            )
    elif ray is not None:
        _on_cluster(request, ray, gpus, most)
    elif gpus is None:
        for name, value in (("nodes", nodes), ("max_restarts", max_restarts)):
            if value is not None:
                raise UsageError(f"{param(name, value)} goes with {param('gpus')}", f"such as {param('gpus', 8)}")
    elif gpus != 1 or nodes is not None:
        from pylm.cli.frame.printing import say
        from pylm.training.launch.launch import launch

        raise click.exceptions.Exit(launch(request, gpus, nodes=nodes, max_restarts=most, say=say))


def _on_cluster(request: Request, address: str, gpus: int | None, max_restarts: int) -> None:
    """Train on a Ray cluster, and leave with the code of its ranks."""
    from pylm.cli.frame.printing import say
    from pylm.training.launch.launch import command_of, device_of, folder_of
    from pylm.training.launch.on_ray import train_on_ray
    from pylm.training.resume import check_folder

    out = folder_of(request)
    device = device_of(request, out)
    if device in ("mlx", "mps"):
        raise UsageError(f"{device.upper()} trains on one device", f"leave {param('ray')} out")
    if request.resume is None:
        check_folder(out, None)  # its processes take each start for a new one
    command = command_of(request, out)
    code = train_on_ray(address, command, out, gpus, on_cpu=device == "cpu", max_restarts=max_restarts, say=say)
    raise click.exceptions.Exit(code)


def _job(request: Request, gpus: int, machines: int, submitted: bool) -> None:
    """Print the file of a Slurm job, or hand it in, and leave."""
    from pylm.training.launch.launch import device_of, folder_of, with_folder
    from pylm.training.launch.slurm import job_file, submit

    out = folder_of(request)
    device = device_of(request, out)
    if device in ("mlx", "mps"):
        raise UsageError(f"{device.upper()} trains on a Mac, not by Slurm", f"leave {param('slurm')} out")
    line = list(_without_job(with_folder(request, out)))
    if machines > 1 and not any(word.partition("=")[0] == "--gpus" for word in line):
        line += ["--gpus", str(gpus)]
    job = job_file(line, out, gpus, machines, on_cpu=device == "cpu")
    click.echo(submit(job) if submitted else job, nl=submitted)
    raise click.exceptions.Exit(0)


def _without_job(words: Sequence[str]) -> Iterator[str]:
    """Leave out what makes a line a job."""
    before = ""
    for word in words:
        if word not in ("--slurm", "--submit") and not word.startswith("--slurm="):
            if before != "--slurm" or not word.isdecimal():
                yield word
        before = word


@contextmanager
def first_speaks() -> Iterator[bool]:
    """Say whether this process speaks for all; another's error is said only where the first has said none."""
    from pylm.training.world import World

    leads = World.of_environment().leads
    try:
        yield leads
    except PylmError:
        if not leads:
            time.sleep(SPOKEN)  # a launcher ends all of its processes once one has left
        raise
