"""The file of a Slurm job, run by sh with stand-ins of Slurm's commands: what is called, when, and with which code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pylm.cli import run
from pylm.errors import PylmError, UsageError
from pylm.training.launch import slurm as subject
from pylm.training.launch.slurm import job_file, submit

TRAINING = """
import signal, sys, time
open("line", "w").write(" ".join(sys.argv[1:]))
signal.signal(signal.SIGUSR1, lambda *_: (time.sleep(0.1), sys.exit(75)))
open("ready", "w").close()
time.sleep({seconds})
sys.exit({code})
"""
STAND_INS = {
    "srun": '[ "$1" = --kill-on-bad-exit=0 ] && shift && exec "$@"\n',
    "scontrol": 'if [ "$1" = show ]; then printf "n1\\nn2\\nn3\\n"; else echo "$@" >> requeued; fi\n',
    "sbatch": 'cat > job; if [ -e refuses ]; then echo "sbatch: error: no such partition" >&2; exit 1; fi\n'
    'echo "Submitted batch job 7"\n',
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in STAND_INS.items():
        (commands / name).write_text("#!/bin/sh\n" + text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "40123")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-3]")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    return tmp_path


def job(slurm: Path, monkeypatch: pytest.MonkeyPatch, machines: int = 1, seconds: int = 0, code: int = 0) -> Any:
    """Start the job, whose training is a program that leaves with `code`, or with 75 after SIGUSR1."""
    program = slurm / "training"
    program.write_text(f"#!{sys.executable} -IS\n" + TRAINING.format(seconds=seconds, code=code))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    text = job_file(["train", "a b.txt", "--gpus", "8"], Path("runs/x"), 8, machines)
    checked = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    return subprocess.Popen(["sh", "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130])
def test_a_training_that_ends_is_not_queued_again(slurm: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    started = job(slurm, monkeypatch, code=code)
    assert started.communicate(timeout=9) == ("", "") and started.returncode == code
    assert Path("line").read_text() == "-m pylm train a b.txt --gpus 8" and not Path("requeued").exists()


def test_shortly_before_its_end_a_job_saves_and_is_queued_again(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = job(slurm, monkeypatch, seconds=9)
    while not Path("ready").exists():
        time.sleep(0.01)
    started.send_signal(signal.SIGUSR1)
    started.communicate(timeout=5)
    assert started.returncode == 75 and Path("requeued").read_text() == "requeue 40123\n"


def test_several_machines_meet_at_the_first_at_a_port_of_the_job(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job(slurm, monkeypatch, machines=3).communicate(timeout=9)
    assert Path("line").read_text().endswith("--gpus 8 --nodes n1:20123,n2,n3")
    with pytest.raises(UsageError, match="gpus=0 is no number of devices"):
        job_file(["train"], Path("runs/x"), 0, 1)
    assert "#SBATCH --nodes=3\n" in job_file(["train"], Path("runs/x"), 8, 3)


def test_the_command_prints_the_file_or_hands_it_in(slurm: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", "--data", "d", "--out", "runs/x", "--gpus", "2", "--slurm", "2", "--max-steps", "10"]
    monkeypatch.setattr(sys, "argv", ["pylm", *words])
    assert run(words) == 0
    printed, err = capsys.readouterr()
    line = next(line for line in printed.splitlines() if line.startswith("srun "))
    assert line.split(" -m pylm ")[1] == 'train --data d --out runs/x --gpus 2 --max-steps 10 --nodes "$machines" &'
    assert "#SBATCH --gpus-per-node=2\n" in printed and err == ""

    monkeypatch.setattr(sys, "argv", ["pylm", *words, "--submit"])
    assert run([*words, "--submit"]) == 0
    assert capsys.readouterr() == ("Submitted batch job 7\n", "") and Path("job").read_text() == printed


def test_one_gpu_of_one_machine_is_one_process(slurm: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", "--data", "d", "--slurm", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["pylm", *words])
    assert run(words) == 0
    printed = capsys.readouterr().out
    assert "--gpus" not in printed and "--nodes" not in printed.replace("#SBATCH --nodes=1", "")
    assert " --out runs/d-" in printed and "per-node=0" not in printed and "--device cpu" in printed


def test_what_sbatch_refuses_is_said(slurm: Path) -> None:
    (slurm / "refuses").touch()
    with pytest.raises(PylmError, match="sbatch refused the job: sbatch: error: no such partition"):
        submit("x")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--submit"], "--submit goes with --slurm"),
        (["--slurm", "2", "--nodes", "a,b"], "a cluster names its machines"),
        (["--slurm", "0"], "--slurm 0 is no number of machines"),
        (["--slurm", "--device", "mps"], "MPS trains on a Mac"),
        (["--slurm", "x"], "--slurm is a whole number, not 'x'"),
    ],
)
def test_what_no_job_can_be_is_refused(slurm: Path, capsys: Any, words: list[str], says: str) -> None:
    assert run(["train", "--data", "d", *words]) == 2
    assert says in capsys.readouterr().err and not Path("job").exists()


def test_where_there_is_no_sbatch_the_file_can_still_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match="sbatch is not on this machine"):
        submit("x")
