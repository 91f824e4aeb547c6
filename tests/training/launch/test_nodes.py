"""Two launchers that name one another as machines, by two addresses of this one: they train what one process does.

The oracle is the run of one process, to the bit.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.launched import Launched, launched, result, trained_alone

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc says which process is which rank, and lo has 127.0.0.2"),
]

Start = Callable[[int], Launched]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The shards, and what one process makes of them."""
    return trained_alone(tmp_path_factory.mktemp("alone"))


@contextmanager
def machines(out: Path, shards: Path, *more: str) -> Iterator[tuple[Start, Launched, Launched]]:
    """Start the line on two machines with a process each; yield what starts it on one of them, and both."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    begun: list[Launched] = []

    def start(machine: int) -> Launched:
        nodes = f"127.0.0.1:{port},127.0.0.2"
        # both have both addresses: Slurm's name says which machine is the first
        begun.append(Launched(out, shards, "--nodes", nodes, *more, gpus=1, SLURM_NODEID=str(machine)))
        return begun[-1]

    try:
        yield start, start(0), start(1)
    finally:
        for one in begun:
            for pid in (one.rank(0), one.rank(1)):
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
            if one.process.poll() is None:
                one.process.kill()
                one.process.communicate()


def test_two_machines_train_what_one_process_does_though_one_loses_its_process(alone: Any, tmp_path: Path) -> None:
    shards, expected = alone
    with machines(tmp_path / "run", shards) as (_, first, second):
        first.until(lambda: first.step() >= 10)
        first.kill(1)
        assert (first.end(), second.end()) == (0, 0), first.said + second.said
    # each launcher counts the deaths of its own machine, and both start again
    said = first.said + second.said
    assert said.count("rank 1 was ended by SIGKILL: all start again from the last checkpoint (1 of 3 new starts)") == 1
    assert result(tmp_path / "run") == expected


def test_a_machine_that_is_gone_comes_back_with_the_same_line(alone: Any, tmp_path: Path) -> None:
    shards, expected = alone
    with machines(tmp_path / "run", shards) as (start, first, second):
        first.until(lambda: first.step() >= 10)
        switch_off(second)
        again = start(1)
        assert (first.end(), again.end()) == (0, 0), first.said + again.said
    assert result(tmp_path / "run") == expected


def test_a_machine_that_is_told_to_leave_leaves_with_the_other_once_all_is_saved(alone: Any, tmp_path: Path) -> None:
    shards, expected = alone
    with machines(tmp_path / "run", shards) as (_, first, second):
        first.until(lambda: first.step() >= 10)
        second.process.send_signal(signal.SIGTERM)
        assert (first.end(), second.end()) == (75, 75), first.said + second.said
    with launched(tmp_path / "run", shards, "--resume", "auto", gpus=1) as one:
        assert one.end() == 0, one.said
    assert result(tmp_path / "run") == expected


def test_without_the_machine_that_holds_the_store_the_others_leave_with_a_sentence(alone: Any, tmp_path: Path) -> None:
    shards, _ = alone
    with machines(tmp_path / "run", shards, "--max-steps", "20000") as (_, first, second):
        first.until(lambda: first.step() >= 10)
        switch_off(first)
        assert second.end() == 1, second.said
    assert (
        "error: the machine that holds the store is gone\nhint: start all of them again; with --resume auto"
        in second.said
    )
    assert "Traceback" not in second.said


def switch_off(machine: Launched) -> None:
    """End a launcher and the rank that it has started, which hear nothing of it."""
    theirs = next(rank for rank in (machine.there(0), machine.there(1)) if parent(rank) == machine.process.pid)
    machine.process.kill()
    os.kill(theirs, signal.SIGKILL)
    machine.process.communicate()


def parent(pid: int) -> int:
    """Return the pid of the process that started one."""
    return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])
