"""The shares of one tokenization on the machines of a Ray cluster, which see the same files under the same names.

A task is a rank of `pylm tokenize --rank R --world N`: it writes whole shards, and finds those that an earlier one
left. So a task whose machine dies is simply run again elsewhere, and goes on where it was.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pylm.errors import PylmError, UsageError
from pylm.wording import param

__all__ = ["Request", "connected", "cores_of_a_machine", "machines_of", "share_of_work", "spread"]

SHARES_PER_MACHINE = 4  # a lost machine costs a fourth of its work, and fast ones take more of them
TRIES_PER_SHARE = 5
SECONDS_BETWEEN_LOOKS = 0.5
CONNECT_SECONDS = 5.0
HTTP2_OPENS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # and settings, which are answered with some

# What `pylm._rust.tokenize` takes beside the tokenizer, by name.
Request = dict[str, Any]
Progress = Callable[[dict[str, float]], None]


def share_of_work(rank: int | None, world: int | None, ray: str | None, say: Callable[[str], None]) -> tuple[int, int]:
    """Return this process's rank and how many there are: as given, else as Slurm says of a step of several tasks."""
    if (rank is None) != (world is None):
        raise UsageError(
            f"{param('rank')} and {param('world')} go together",
            f"for the first of four processes: {param('rank', 0)} {param('world', 4)}",
        )
    if rank is not None and world is not None:
        return rank, world
    # a batch script has SLURM_PROCID too, but no step: it runs once, and does everything
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if ray is not None or "SLURM_STEP_ID" not in os.environ or not tasks.isdigit() or int(tasks) < 2:
        return 0, 1
    rank, world = int(os.environ.get("SLURM_PROCID", "0")), int(tasks)
    say(f"rank {rank} of {world}, by Slurm")
    return rank, world


def spread(
    address: str, files: dict[str, bytes], request: Request, units: int, progress: Progress | None
) -> dict[str, float]:
    """Do all shares of the work, each on some machine of the cluster, and return what was done.

    A share is done again where its machine died.

    Args:
        address: of the cluster; `auto` is the one that this machine belongs to.
        files: of the tokenizer.
        request: what every rank is asked.
        units: into which the work is cut.
        progress: told how far it has come.
    """
    ray = connected(address)
    threads = request["threads"] or cores_of_a_machine(ray)
    world = max(min(units, SHARES_PER_MACHINE * machines_of(ray)), 1)
    share = ray.remote(num_cpus=threads, max_retries=TRIES_PER_SHARE, scheduling_strategy="SPREAD")(_share)
    shared_work, place = ray.put((files, {**request, "threads": threads})), os.getcwd()
    running = {share.remote(shared_work, place, rank, world): rank for rank in range(world)}
    done: dict[str, float] = {}
    try:
        while running:
            ready, _ = ray.wait(list(running), timeout=SECONDS_BETWEEN_LOOKS)
            for task in ready:
                running.pop(task)
                _add(done, ray.get(task))
            if progress is not None and done:
                progress({**done, "total_bytes": max(done["total_bytes"], done["bytes"])})
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, PylmError) else error from None
    except ray.exceptions.RayError as error:
        raise PylmError(
            f"the cluster gave a share of the work up after {TRIES_PER_SHARE} tries: {_first_line(error)}",
            "what is complete stays; run the same command again once the machines are back",
        ) from None
    finally:
        for task in running:
            ray.cancel(task, force=True)
    return done


def _share(given: tuple[dict[str, bytes], Request], folder: str, rank: int, world: int) -> dict[str, float]:
    """Do one rank's work, on whichever machine it is, and return its counters."""
    from pylm import _rust
    from pylm.data.encoder import encoder_of
    from pylm.tokenizer import Tokenizer

    files, request = given
    os.chdir(folder)
    with tempfile.TemporaryDirectory(prefix="pylm-tokenizer-") as kept:
        for name, data in files.items():
            Path(kept, name).write_bytes(data)
        tok = Tokenizer.load(kept)
    asked = {key: value for key, value in request.items() if key != "allow_special"}
    encoder = encoder_of(tok, request["allow_special"])
    result = _rust.tokenize(encoder=encoder, files=lambda: files, rank=rank, world=world, **asked)
    found: dict[str, float] = result["progress"]
    return found


def _add(done: dict[str, float], found: dict[str, float]) -> None:
    for key, value in found.items():
        done[key] = max(done.get(key, 0), value) if key in ("seconds", "total_bytes") else done.get(key, 0) + value


def connected(address: str) -> Any:
    """Return Ray, connected to a cluster, whose workers print nothing here."""
    try:
        import ray
    except ModuleNotFoundError:
        raise UsageError(f"{param('ray')} needs Ray, which is not installed", "pip install ray") from None
    if not ray.is_initialized():
        try:
            if address != "auto":
                _check_answers(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"no Ray cluster answers at {address}: {_first_line(error)}",
                "ray start --head begins one, ray start --address=HEAD:6379 joins it from another machine",
            ) from None
    return ray


def _check_answers(address: str) -> None:
    """Refuse an address at which nobody speaks as Ray does, of which it would say so after minutes, and at length."""
    host, _, port = address.rpartition(":")
    if "/" in host or not port.isdecimal():
        raise ValueError("an address is HOST:PORT")
    with socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS) as there:
        if "RAY_USE_TLS" in os.environ:
            return
        there.settimeout(CONNECT_SECONDS)
        there.sendall(HTTP2_OPENS)
        answer = there.recv(9, socket.MSG_WAITALL)
    if answer[3:4] != b"\x04":
        raise ValueError("what listens there is not Ray")


def machines_of(ray: Any) -> int:
    """Return how many machines compute."""
    return sum(1 for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU"))


def cores_of_a_machine(ray: Any) -> int:
    """Return the cores of the smallest machine, so that every machine can take a share."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return min((count for count in cores if count), default=1)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
