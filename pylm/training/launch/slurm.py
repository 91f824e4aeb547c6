"""A training as a job of Slurm: the file that sbatch takes, and the handing in of it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pylm.errors import PylmError, UsageError
from pylm.wording import in_options, param

__all__ = ["job_file", "submit"]

WARNED = 180  # seconds before its end in which a job saves: SAVING, and what Slurm takes to tell all processes
CORES = 4  # for each process: what reads ahead and what writes checkpoints are threads
FILE = """#!/bin/sh
#SBATCH --job-name={name}
#SBATCH --nodes={machines}
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task={cores}
{gpus}#SBATCH --signal=B:USR1@{warned}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output={name}-%j.log

cd {place} || exit 1
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" # which srun no longer reads by itself
{meet}
# the time is nearly up: the run saves and leaves with 75, and goes on in the next turn of this job
trap 'kill -USR1 "$step"' USR1
# whoever has left first, has others saved yet: srun would kill them where the cluster is set up so
srun --kill-on-bad-exit=0 {line}{nodes} &
step=$!
wait "$step"
code=$?
while kill -0 "$step" 2>/dev/null; do
    wait "$step" # a signal ended the wait before it
    code=$?
done
[ "$code" -eq 75 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$code"
"""
MEET = """
# a port of this job's own, on the first of its machines
machines=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd, -)
machines=$(echo "$machines" | sed "s/,/:$((20000 + SLURM_JOB_ID % 20000)),/")
"""


def job_file(words: Sequence[str], out: Path, gpus: int, machines: int, *, on_cpu: bool = False) -> str:
    """Return the file of a job that runs a command line.

    Args:
        words: of the command line, the folder of its run among them.
        out: that folder, after which the job is called.
        gpus: of each machine.
        machines: that train together.
        on_cpu: whether no GPU is wanted.
    """
    if machines < 1:
        raise UsageError(f"{param('slurm', machines)} is no number of machines", "1 is one")
    if gpus < 1:
        raise UsageError(f"{param('gpus', gpus)} is no number of devices", "1 is one process")
    nodes = in_options(param("nodes", "MACHINES")).replace("MACHINES", '"$machines"')
    return FILE.format(
        name=shlex.quote(f"pylm-{out.name}"),
        machines=machines,
        cores=CORES * gpus,
        gpus="" if on_cpu else f"#SBATCH --gpus-per-node={gpus}\n",
        warned=WARNED,
        place=shlex.quote(os.getcwd()),
        meet="" if machines == 1 else MEET,
        line=shlex.join([sys.executable, "-m", "pylm", *words]),
        nodes="" if machines == 1 else f" {nodes}",
    )


def submit(job: str) -> str:
    """Hand a job in, and return what sbatch says of it."""
    if shutil.which("sbatch") is None:
        raise UsageError(
            "sbatch is not on this machine", f"without {param('submit')} the file is printed: take it there"
        )
    done = subprocess.run(["sbatch"], input=job, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it left with {done.returncode}"]
        raise PylmError(
            f"sbatch refused the job: {said[-1]}", "what it asks for can be given as SBATCH_PARTITION and so on"
        )
    return done.stdout.strip()
