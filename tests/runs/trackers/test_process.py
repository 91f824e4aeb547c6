"""The process beside: what fails or stalls is dropped once, the rest is sent, whoever trains is never waited for."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pylm
from pylm.cli import run as command
from pylm.errors import UsageError
from pylm.runs.trackers import FINISHED, Told, Tracking, check, track, tracking
from pylm.training import events
from tests.runs.made import line_of, made_run
from tests.runs.trackers.stubs import calls, plant
from tests.support.shards import write_shards

SHORT: Any = {"n_layers": 1, "n_heads": 2, "d_model": 16, "context_length": 16, "device": "cpu", "compile": False,
              "batch_tokens": 64, "max_steps": 6, "save_every": 6, "eval_every": 6, "eval_batches": 2, "log_every": 1,
              "learning_rate": 1e-2, "backend": "torch", "micro_batch": 4}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made_run(tmp_path / "a", 20)


def rows(run: Path) -> int:
    table = run / "trackers" / "metrics.csv"
    return len(table.read_text().splitlines()) - 1 if table.exists() else 0


def dropped(told: Sequence[Told]) -> dict[str, str]:
    return {one.tracker: one.dropped for one in told if one.dropped is not None}


def until(what: Any, seconds: float = 200.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_one_that_raises_is_dropped_once_and_the_others_go_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant("wandb", run.parent, monkeypatch)
    monkeypatch.setenv("STUB", "raises")
    sending = Tracking(run, ["wandb", "csv"], finish=60, poll=0.02, nice=0)
    until(lambda: rows(run) == 22)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line_of(21, 1.0)) + "\n")
    told = [*sending.news(), *sending.finish(FINISHED)]
    assert dropped(told) == {"wandb": "RuntimeError: the service is on fire"}
    assert [one.sent for one in told if one.sent is not None] == [23] and rows(run) == 23
    assert len([one for one in told if one.tracker == "wandb" and one.dropped]) == 1


def test_one_that_stalls_is_dropped_and_never_waited_for(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant("wandb", run.parent, monkeypatch)
    monkeypatch.setenv("STUB", "sleeps")
    sending = Tracking(run, ["wandb", "csv"], finish=60, stall=0.5, poll=0.02, nice=0)
    said: list[Told] = []
    until(lambda: said.extend(sending.news()) or dropped(said))
    told = [*said, *sending.finish(FINISHED)]
    assert dropped(told) == {"wandb": "it no longer answers"} and rows(run) == 22
    assert not (run / "trackers" / "wandb.json").exists() or '"lines": 0' in (run / "trackers/wandb.json").read_text()


def test_one_that_is_slow_and_goes_on_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 lines, which are read at once, take it 3 s, of which 1.5 are allowed: 64 of them are sent in 0.6."""
    run = made_run(tmp_path / "a", 300)
    plant("wandb", tmp_path, monkeypatch)
    monkeypatch.setenv("STUB", "is slow")
    told = Tracking(run, ["wandb"], finish=60, stall=1.5, poll=0.02, nice=0).finish(FINISHED)
    assert [one.sent for one in told if one.sent is not None] == [330] and not dropped(told)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says how long a thread waits for the processor")
def test_one_that_has_no_processor_is_not_taken_for_one_that_stalls(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a core that is taken, with a quarter of the right to it: 2.2 s of computing take 9 s, and 3 are allowed."""
    log = plant("wandb", run.parent, monkeypatch)
    monkeypatch.setenv("STUB", "computes")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    taken = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        begun = time.monotonic()
        sending = Tracking(run, ["wandb"], finish=180, stall=3, poll=0.02, nice=5)
        told = sending.finish(FINISHED)
        seconds = time.monotonic() - begun
    finally:
        taken.kill()
        taken.wait()
        os.sched_setaffinity(0, cores)
    assert [one.sent for one in told if one.sent is not None] == [22] and not dropped(told)
    assert sum(one["call"] == "log" for one in calls(log)) == 22 and seconds > 4


def test_the_end_waits_no_longer_than_it_was_told_to(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = plant("wandb", run.parent, monkeypatch)
    monkeypatch.setenv("STUB", "sleeps")
    sending = Tracking(run, ["wandb"], finish=0.5, poll=0.02, nice=0)
    until(lambda: len(calls(log)) >= 3)
    assert dropped(sending.finish(FINISHED)) == {"wandb": "it had not finished 0.5 s after the run"}
    assert not sending.goes_on


def test_the_rest_is_sent_after_whoever_trained_was_killed(run: Path) -> None:
    script = (
        "import os, signal, sys, time; from pathlib import Path; from pylm.runs.trackers import Tracking\n"
        f"t = Tracking(Path({str(run)!r}), ['csv'], finish=60, poll=60, nice=0)\n"
        f"while not Path({str(run)!r}, 'trackers', 'csv.json').exists(): time.sleep(0.02)\n"
        f"open({str(run / 'metrics.jsonl')!r}, 'a').write({json.dumps(line_of(21, 1.0))!r} + chr(10))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    with (run / "trackers" / ".lock").open() as lock:  # which its process holds
        fcntl.flock(lock, fcntl.LOCK_EX)
    assert rows(run) == 23 and json.loads((run / "trackers" / "csv.json").read_text())["lines"] == 23


def test_a_process_that_is_killed_is_told_of(run: Path) -> None:
    sending = Tracking(run, ["csv"], finish=1, nice=0)
    os.kill(sending._process.pid, signal.SIGKILL)
    said: list[Told] = []
    until(lambda: said.extend(sending.news()) or said)
    assert dropped(said) == {"csv": "its process ended with -9"} and sending.finish(FINISHED) == ()


def test_two_processes_do_not_send_one_run(run: Path) -> None:
    (run / "trackers").mkdir()
    with (run / "trackers" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told: list[Told] = []
        track(run, ["csv"], told.append)
    assert dropped(told) == {"csv": "another process still sends this run"} and rows(run) == 0


@pytest.mark.parametrize(
    ("tracker", "sentence", "hint"),
    [
        ("wanbd", "there is no tracker wanbd", "did you mean wandb?"),
        ("x", "there is no tracker x", "there are csv, tensorboard, wandb, trackio, mlflow"),
        ("csv:project", "csv:project is no tracker: it has no projects", "write csv"),
        ("wandb:", "wandb: is no tracker: the project's name is empty", "write wandb"),
        ("trackio", "the tracker trackio is not installed", "pip install '.[trackio]'"),
    ],
)
def test_what_cannot_be_sent_to_is_said(tracker: str, sentence: str, hint: str) -> None:
    import importlib.util

    if "installed" in sentence and importlib.util.find_spec(tracker):
        pytest.skip(f"{tracker} is installed here")
    with pytest.raises(UsageError) as error:
        check([tracker])
    assert (error.value.message, error.value.hint) == (sentence, hint)


def test_a_tracker_is_named_once_and_a_folder_of_its_name_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="named twice"):
        check(["csv", "csv"])
    (tmp_path / "wandb").mkdir()  # which wandb makes where it runs
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match="not installed"):
        check(["wandb"])


def test_the_command_sends_once(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["runs", "track", str(run), "--to", "csv"]) == 0
    assert capsys.readouterr().out == "csv: 22 lines sent\n"
    assert command(["runs", "track", str(run), "--to", "csv"]) == 0
    assert capsys.readouterr().out == "csv: 0 lines sent\n" and rows(run) == 22
    assert command(["runs", "track", str(run)]) == 2
    assert "has no trackers of its own" in capsys.readouterr().err
    assert command(["runs", "track", str(run), "--to", "csv,nowhere"]) == 2


def test_the_command_says_what_failed(run: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant("wandb", run.parent, monkeypatch)
    monkeypatch.setenv("STUB", "raises")
    assert command(["runs", "track", str(run), "--to", "wandb"]) == 3
    assert "wandb: RuntimeError: the service is on fire" in capsys.readouterr().err


def test_a_training_with_trackers_is_the_same_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    plant("wandb", tmp_path, monkeypatch)
    monkeypatch.setenv("STUB", "raises")
    monkeypatch.setattr(tracking, "NICE", 0)  # or it would wait for tests beside this one
    write_shards(tmp_path / "ids", 60, np.random.default_rng(2), count=4000)
    heard: list[Any] = []
    plain = pylm.train(data="ids", out="plain", on_event=lambda event: None, **SHORT)
    tracked = pylm.train(data="ids", out="sent", on_event=heard.append, trackers=["csv", "wandb"], tracker_finish=60,
                         **SHORT)  # fmt: skip
    losses = [[line["loss"] for line in one.metrics() if "loss" in line] for one in (plain, tracked)]
    assert losses[0] == losses[1] and len(losses[0]) == 6
    assert rows(tracked.path) == len(tracked.metrics())
    (drop,) = [event for event in heard if isinstance(event, events.TrackerDropped)]
    assert (drop.tracker, drop.why) == ("wandb", "RuntimeError: the service is on fire")
    assert isinstance(heard[-1], events.Ended)
    (incident,) = tracked.incidents()
    assert incident == {"step": incident["step"], "kind": "tracker", "tracker": "wandb", "why": drop.why}
    assert command(["report", "sent"]) == 0 and drop.why in Path("sent/report.html").read_text()
    assert command(["report", "sent", "--redact"]) == 0 and drop.why not in Path("sent/report.html").read_text()


def test_a_tracker_that_is_not_there_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no tracker nowhere"):
        pylm.train(data=tmp_path / "missing", out=tmp_path / "r", trackers="csv,nowhere", max_steps=1)
    assert not (tmp_path / "r").exists()
