"""A kill at each point where a run writes: readers name the right checkpoints at once, the next writer mends the rest.

The process is killed before the n-th call that changes the disk, for every n: from then on nothing that it does reaches
the disk, as after SIGKILL.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pylm import checkpoint
from pylm.errors import Interrupted
from pylm.training.loop import Evaluation, train

SETTINGS: dict[str, Any] = {"steps": 4, "eval_every": 1, "save_every": 1, "keep_last": 1, "log_every": 4}
LOSSES = {1: 3.0, 2: 0.5, 3: 0.7, 4: 0.6}
CALLS = ("rename", "replace", "fsync", "mkdir", "unlink", "rmdir")


class Killed(BaseException):
    """What a killed process does from then on: nothing."""


class Kill:
    """Counts calls that change the disk, and lets none through from the n-th on."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, at: int, error: Callable[[], BaseException], lasts: bool
    ) -> None:
        self.at, self.error, self.lasts, self.count = at, error, lasts, 0
        for name in CALLS:
            monkeypatch.setattr(os, name, self._guarded(getattr(os, name)))

    def _guarded(self, call: Any) -> Any:
        def guarded(*given: Any, **named: Any) -> Any:
            self.count += 1
            if self.count == self.at or (self.lasts and self.count > self.at):
                raise self.error()
            return call(*given, **named)

        return guarded


def scripted(one: Any) -> Any:
    """Let the evaluations say what LOSSES says."""
    one.hooks.evaluate = lambda backend, stopping: Evaluation(LOSSES[one.progress.step], 1.0, 0.0, None)
    return one


def expected_best(run: Path) -> int:
    """The best of all steps up to the newest checkpoint: every step was evaluated and saved."""
    newest = checkpoint.steps(run)[-1]
    return min(range(1, newest + 1), key=LOSSES.__getitem__)


def names(run: Path) -> dict[str, str]:
    """What is in the folder of checkpoints, and what its two files say."""
    folder = run / "checkpoints"
    return {entry.name: entry.read_text() if entry.is_file() else "" for entry in folder.iterdir()}


def die(session: Any, run: Path, monkeypatch: pytest.MonkeyPatch, at: int, error: Any, lasts: bool) -> bool:
    """Train until the n-th call; whether it came that far."""
    one = scripted(session(run.name, **SETTINGS))
    with monkeypatch.context() as patch:
        kill = Kill(patch, at, error, lasts)
        try:
            train(one)
        except (Killed, OSError):
            pass
        one.files.saver.finish()
    one.files.folder.close()
    return kill.count >= at


@pytest.mark.parametrize(
    ("error", "lasts"),
    [(Killed, True), (lambda: OSError(errno.EIO, "Input/output error"), False)],
    ids=["kill", "EIO"],
)
def test_readers_are_right_after_a_kill_anywhere_and_the_next_writer_mends(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any, lasts: bool
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # still a point to be killed at, and faster
    train(scripted(session("whole", **SETTINGS)))
    whole = names(tmp_path / "whole")
    assert whole == {"step_2": "", "step_4": "", "best": "step_2\n", "last": "step_4\n"}
    stale, at = 0, 0
    while die(session, run := tmp_path / f"killed-{at}", monkeypatch, at := at + 1, error, lasts):
        run = tmp_path / f"killed-{at - 1}"
        if not checkpoint.steps(run):
            continue
        newest = checkpoint.steps(run)[-1]
        # a reader, who writes nothing
        before = names(run)
        stale += before.get("best") != f"step_{expected_best(run)}\n"
        assert checkpoint.find(str(run)).name == checkpoint.find(f"{run}/best").name == f"step_{expected_best(run)}"
        assert checkpoint.find(f"{run}/last").name == f"step_{newest}"
        assert names(run) == before
        # the next writer: where nothing is left to train, too
        again = scripted(session(run.name, checkpoint=checkpoint.verify(checkpoint.find(f"{run}/last")), **SETTINGS))
        again.files.saver.mend()
        mended = names(run)
        assert mended["best"] == f"step_{expected_best(run)}\n" and mended["last"] == f"step_{newest}\n"
        assert not [name for name in mended if name.startswith(".")]
        assert len(checkpoint.steps(run)) <= 2
        train(again)
        again.files.folder.close()
        assert names(run) == whole

    assert at > 40 and stale > 1  # the points where the files lie were among them


def test_the_best_outlives_a_resume_after_a_kill_before_its_name_was_written(session: Any, tmp_path: Path) -> None:
    first = scripted(session("run", **{**SETTINGS, "steps": 2}))
    train(first)
    first.files.folder.close()
    run = tmp_path / "run"
    (run / "checkpoints/best").write_text("step_1\n")  # where the kill left them
    (run / "checkpoints/last").write_text("step_1\n")
    assert checkpoint.find(str(run)).name == "step_2"
    sound = checkpoint.newest_sound(run)
    assert sound is not None
    train(scripted(session("run", checkpoint=checkpoint.verify(sound), **SETTINGS)))
    assert checkpoint.steps(run) == [2, 4] and (run / "checkpoints/best").read_text() == "step_2\n"


def test_a_best_that_is_damaged_is_no_reason_to_take_another_silently(session: Any, tmp_path: Path) -> None:
    train(scripted(session("run", **{**SETTINGS, "keep_last": 3})))
    run = tmp_path / "run"
    (run / "checkpoints/step_4/state.json").write_text("{}")  # the newest cannot be asked: the one before it can
    assert checkpoint.best(run) == 2
    (run / "checkpoints/best").write_text("step_4\n")  # and knows nothing of what came after it
    assert checkpoint.find(str(run)).name == "step_4"
    (run / "checkpoints/best").write_text("step_3\n")  # but of what came before it
    assert checkpoint.find(str(run)).name == "step_2"


def test_an_evaluation_after_its_checkpoint_names_the_best(session: Any, tmp_path: Path) -> None:
    """Step 2 was saved before its evaluation, which a stop came into, and is the best by what that said later."""
    stopped = scripted(session("run", **SETTINGS))
    evaluate = stopped.hooks.evaluate

    def stopping(backend: Any, asked: Any) -> Any:
        if stopped.progress.step < 2:
            return evaluate(backend, asked)
        stopped.hooks.stop.signal = signal.SIGTERM
        return None

    stopped.hooks.evaluate = stopping
    with pytest.raises(Interrupted):
        train(stopped)
    stopped.files.folder.close()
    run = tmp_path / "run"
    assert checkpoint.steps(run) == [1, 2] and checkpoint.find(str(run)).name == "step_1"
    for _ in range(2):  # killed in the step after, twice
        again = scripted(session("run", checkpoint=checkpoint.verify(run / "checkpoints/step_2"), **SETTINGS))
        again.backend.step = None
        with pytest.raises(TypeError):
            train(again)
        again.files.folder.close()
        assert checkpoint.find(str(run)).name == checkpoint.find(f"{run}/best").name == "step_2"
        assert checkpoint.read(run / "checkpoints/step_2").state["progress"]["best_step"] == 1
