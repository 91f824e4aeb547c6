"""A job of Slurm on two machines, which are processes here: warned, saved, queued again, and the end of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.launched import launched, result, typed
from tests.support.shards import write_shards

STEPS = 120
SRUN = f"""#!{sys.executable}
import os, signal, subprocess, sys
tasks = [subprocess.Popen(sys.argv[2:], env=dict(os.environ, SLURM_NODEID=str(one))) for one in range(2)]
signal.signal(signal.SIGUSR1, lambda *_: [task.send_signal(signal.SIGUSR1) for task in tasks])
sys.exit(max(task.wait() for task in tasks))
"""
SCONTROL = """#!/bin/sh
if [ "$1" = show ]; then printf "127.0.0.1\\nlocalhost\\n"; else echo "$@" >> requeued; fi
"""


def steps_of(run: Path) -> int:
    try:
        return sum(line.startswith('{"step"') for line in (run / "metrics.jsonl").read_text().splitlines())
    except OSError:
        return 0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_job_that_is_warned_goes_on_in_its_next_turn(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "data", 64, np.random.default_rng(3), 20_000)
    more = ("--max-steps", str(STEPS), "--eval-every", str(STEPS))
    with launched(tmp_path / "alone", shards, *more, gpus=1) as one:
        assert one.end() == 0, one.said

    (tmp_path / "bin").mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_CPUS_PER_TASK": "1"}
    environ = {**os.environ, **job, "OMP_NUM_THREADS": "1", "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    asked = [*typed(tmp_path / "run", shards, *more), "--slurm", "2"]
    printed = subprocess.run(asked, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True).stdout

    first = subprocess.Popen(["sh", "-c", printed], env=environ, stderr=subprocess.PIPE, text=True)
    while steps_of(tmp_path / "run") < 12:
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.01)
    first.send_signal(signal.SIGUSR1)
    said = first.communicate(timeout=60)[1]
    assert first.returncode == 75, said
    assert (tmp_path / "requeued").read_text() == f"requeue {os.getpid()}\n"
    assert 12 <= steps_of(tmp_path / "run") < STEPS

    again = {**environ, "SLURM_RESTART_COUNT": "1"}
    second = subprocess.run(["sh", "-c", printed], env=again, capture_output=True, text=True, check=False, timeout=90)
    assert second.returncode == 0 and "going on from step" in second.stderr, second.stderr
    assert result(tmp_path / "run", STEPS) == result(tmp_path / "alone", STEPS)
    assert len((tmp_path / "requeued").read_text().splitlines()) == 1
