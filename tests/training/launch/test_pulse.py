"""Who hangs, of what processes tell of themselves; the oracle is who was made to hang."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import HashStore

from pylm.runs import Stop
from pylm.training.launch.codes import LOST
from pylm.training.launch.pulse import Beat, Pulse, hanging
from pylm.training.world import World

PATIENCE = 10.0


def beat(number: int, *, still: float = 20.0, waits: bool = True) -> Beat:
    return Beat(number, "h", 1, 5, still, waits, "x.py:1")


@pytest.mark.parametrize("seed", range(20))
def test_those_that_hang_are_found_among_those_that_wait(seed: int) -> None:
    rng = random.Random(seed)
    size = rng.randrange(2, 40)
    kinds = [rng.choice(["waits", "waits", "silent", "stuck", "busy"]) for _ in range(size)]
    kinds[rng.randrange(size)] = "waits"
    before = [beat(rng.randrange(50), waits=rng.random() < 0.5) for _ in range(size)]
    now = list(before)
    for rank, kind in enumerate(kinds):
        number = before[rank].number + 1
        if kind == "silent":
            continue  # whatever it told last
        still = 1.0 if kind == "busy" else 20.0
        now[rank] = beat(number, still=still, waits=kind == "waits")
    assert hanging(before, now, PATIENCE) == [rank for rank, kind in enumerate(kinds) if kind in ("silent", "stuck")]


def test_one_that_hears_no_event_knows_by_its_first_step_that_training_has_begun() -> None:
    pulse = Pulse(World(1, 2, 1, 2), None, 10.0, Stop(), HashStore)
    assert pulse._patient() == 27.0  # models are compiled, and machines measured
    assert pulse.wants_step(lambda: False)() and pulse._patient() == 9.0


def test_nobody_hangs_while_nobody_has_waited_for_long() -> None:
    before = [beat(1), beat(1)]
    assert hanging(before, [beat(2, still=9.0), beat(1)], PATIENCE) == []
    assert hanging(before, [beat(2, waits=False), beat(2, waits=False)], PATIENCE) == []  # all evaluate
    assert hanging(before, [beat(2), beat(2)], PATIENCE) == []


WATCHED = """
import os, signal, sys, time
from pathlib import Path
from pylm.runs import Stop
from pylm.training.launch.pulse import Pulse
from pylm.training.world import World
def all_reduce():
    while not stop():
        time.sleep(0.05)
namespace = dict(globals())
exec(compile("def wait():\\n  all_reduce()", "/site-packages/torch/distributed/c10d.py", "exec"), namespace)
world, stop = World.of_environment(), Stop()
namespace["stop"] = stop
def compute():
    while not stop():
        sum(range(200_000))
        time.sleep(0.004)
        sorted(range(200_000))
        time.sleep(0.007)
        max(range(200_000))
        time.sleep(0.002)
class Files:
    def set(self, key, value):
        if sys.argv[2] == "unheard" and world.rank and Path(sys.argv[1], "beat_1").exists():
            time.sleep(99)  # as torch's does where the process that holds it is stopped
        Path(sys.argv[1], key.replace("/", "_") + ".new").write_text(value)
        os.replace(Path(sys.argv[1], key.replace("/", "_") + ".new"), Path(sys.argv[1], key.replace("/", "_")))
    def get(self, key):
        return Path(sys.argv[1], key.replace("/", "_")).read_bytes()
    def check(self, keys):
        return all(Path(sys.argv[1], key.replace("/", "_")).exists() for key in keys)
with Pulse(world, Path(sys.argv[1]), 2.0, stop, Files) as pulse:
    pulse._started = True
    print("ready", flush=True)
    if sys.argv[2] in ("waits", "unheard"):
        namespace["wait"]()
    elif sys.argv[2] == "computes":
        compute()
    else:
        all_reduce()
sys.exit(stop.exit_code)
"""


Processes = list["subprocess.Popen[str]"]


@contextmanager
def started(folder: Path, kinds: list[str]) -> Iterator[Processes]:
    """Start processes that wait for one another in what looks like a collective, or elsewhere."""
    processes = []
    for rank, kind in enumerate(kinds):
        world = {"RANK": rank, "WORLD_SIZE": len(kinds), "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": len(kinds)}
        environ = {**os.environ, **{name: str(value) for name, value in world.items()}}
        command = [sys.executable, "-c", WATCHED, str(folder), kind]
        processes.append(subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environ))
    try:
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        while not all((folder / f"beat_{rank}").exists() for rank in range(len(kinds))):
            time.sleep(0.02)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_process_that_is_stopped_is_named_and_the_others_leave(tmp_path: Path) -> None:
    with started(tmp_path, ["waits"] * 3) as (first, stopped, third):
        stopped.send_signal(signal.SIGSTOP)
        said = first.communicate(timeout=20)[1]
        assert (first.returncode, third.wait(5)) == (LOST, LOST)
        assert f"error: rank 1 (host {socket.gethostname()}, pid {stopped.pid}, step 0) hangs" in said
        assert third.communicate()[1] == ""
    for rank in (0, 2):
        assert "all_reduce" in (tmp_path / "stacks" / f"rank_{rank}.txt").read_text()


def test_a_process_that_is_stuck_elsewhere_is_named_with_the_place(tmp_path: Path) -> None:
    with started(tmp_path, ["stuck", "waits"]) as (stuck, second):
        said = second.communicate(timeout=20)[1]
        assert second.returncode == LOST
        assert f"rank 0 (host {socket.gethostname()}, pid {stuck.pid}, step 0) hangs, at <string>:" in said


def test_where_all_do_something_nobody_is_ended(tmp_path: Path) -> None:
    with started(tmp_path, ["stuck", "stuck"]) as processes:
        time.sleep(3)
        assert [process.poll() for process in processes] == [None, None]


def test_one_that_computes_may_take_longer_than_the_others_wait(tmp_path: Path) -> None:
    with started(tmp_path, ["computes", "waits"]) as processes:
        time.sleep(4)
        assert [process.poll() for process in processes] == [None, None]


def test_a_store_that_answers_no_more_is_said_and_left(tmp_path: Path) -> None:
    with started(tmp_path, ["stuck", "unheard"]) as (first, second):
        said = second.communicate(timeout=20)[1]
        assert (first.poll(), second.returncode) == (None, LOST)
        assert "error: the process that holds the store of all hangs: the others have waited 2 s" in said
    assert "all_reduce" in (tmp_path / "stacks" / "rank_1.txt").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says who lives")
def test_those_whose_launcher_is_gone_save_and_leave(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path\n"
        "from test_pulse import started\n"
        "with started(Path(sys.argv[1]), ['waits', 'stuck']) as both:\n"
        "    print(*[one.pid for one in both], flush=True); os._exit(0)\n"
    )
    environ: dict[str, Any] = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    pids = done.stdout.split()
    assert len(pids) == 2, done.stderr
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def alive(pid: str) -> bool:
    """Whether a process is there, and no zombie that nobody has asked for yet."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
