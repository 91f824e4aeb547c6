"""Runs of two processes whose processes are killed, stopped and told to leave: nothing is lost, the end is the same.

The oracle is the run that nobody disturbed, to the bit.
"""

from __future__ import annotations

import re
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pylm.checkpoint import newest_sound, steps
from tests.support.launched import launched, result, trained_alone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc says which process is which rank")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The shards, and what one process makes of them, whose sums are those of two."""
    return trained_alone(tmp_path_factory.mktemp("undisturbed"))


def test_a_run_that_is_killed_and_told_to_leave_ends_as_if_it_had_not_been(undisturbed: Any, tmp_path: Path) -> None:
    shards, expected = undisturbed
    with launched(tmp_path / "run", shards) as one:
        one.until(lambda: one.step() >= 10)
        killed = one.kill(1)
        one.until(lambda: one.rank(1) not in (None, killed))  # on a busy machine a later checkpoint is there by then
        one.until(lambda: one.step() >= 16)
        one.process.send_signal(signal.SIGTERM)
        assert one.end() == 75, one.said
    assert one.said.count("rank 1 was ended by SIGKILL: all start again from the last checkpoint") == 1
    assert one.said.count("stopping after this step") == 1 and one.said.count("saved\n") == 1
    with launched(tmp_path / "run", shards, "--resume", "auto", gpus=1) as one:
        assert one.end() == 0, one.said
    assert result(tmp_path / "run") == expected


@pytest.mark.slow
def test_a_process_that_is_stopped_is_named_in_time_and_all_go_on(undisturbed: Any, tmp_path: Path) -> None:
    shards, expected = undisturbed
    with launched(tmp_path / "run", shards, "--parallel-timeout", "20") as one:
        one.until(lambda: one.step() >= 6)
        stopped = one.kill(1, signal.SIGSTOP)
        assert one.end() == 0, one.said
    # in time: after 20 s the collective itself gives up, and names nobody
    assert f"rank 1 (host {socket.gethostname()}, pid {stopped}, step " in one.said
    assert "the others have waited 18 s for it" in one.said
    assert one.said.count("all start again from the last checkpoint") == 1
    assert (tmp_path / "run" / "stacks" / "rank_0.txt").exists()
    assert result(tmp_path / "run") == expected


@pytest.mark.slow
def test_processes_whose_launcher_is_killed_save_and_leave(undisturbed: Any, tmp_path: Path) -> None:
    shards, _ = undisturbed
    with launched(tmp_path / "run", shards, "--max-steps", "20000") as one:
        one.until(lambda: one.step() >= 6)
        ranks = [one.rank(0), one.rank(1)]
        one.process.kill()
        one.process.communicate()
        deadline = time.monotonic() + 60
        while any(rank is not None and alive(rank) for rank in ranks) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert None not in ranks and not any(alive(rank) for rank in ranks if rank is not None)
        assert steps(one.out)[-1] == one.step()  # and none of them is lost


@pytest.mark.slow
def test_a_full_disk_of_one_process_ends_all_with_its_sentence(undisturbed: Any, tmp_path: Path) -> None:
    shards, _ = undisturbed
    more = ("--parallel", "fsdp", "--determinism", "default", "--max-steps", "20000")
    with launched(tmp_path / "run", shards, *more) as one:
        one.until(lambda: bool(steps(one.out)))
        other = one.rank(1)
        assert other is not None
        resource.prlimit(other, resource.RLIMIT_FSIZE, (4096, 4096))
        assert one.end() == 1, one.said
    assert one.said.count("error: ") == 1 and "start again" not in one.said
    said = re.search(r"error: rank 1: (\S+): file too large\nhint: (step_\d+) is sound: pylm train", one.said)
    assert said is not None, one.said
    assert re.fullmatch(rf"{one.out}/checkpoints/step_\d+/shard-00002-\S+", said[1])
    assert newest_sound(one.out) is not None and not list(one.out.glob("checkpoints/.partial*"))


def alive(pid: int) -> bool:
    """Whether a process is there, and no zombie that nobody has asked for yet."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
