"""The loop over a backend of numpy: what happens when, what is written, and that a resumed run is the same one."""

from __future__ import annotations

import itertools
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.checkpoint import find, newest_sound, steps, verify
from pylm.errors import CheckpointError, Interrupted, PylmError
from pylm.runs import read_lines
from pylm.training.loop import BAD_STEPS, train

VOLATILE = {"seconds", "tokens_per_second", "phase", "mfu", "memory"}


def metrics(run: Path) -> list[dict[str, Any]]:
    records = read_lines(run / "metrics.jsonl")
    return [{key: value for key, value in record.items() if key not in VOLATILE} for record in records]


def test_a_run_takes_its_steps_and_writes_down_what_it_did(session: Any, tmp_path: Path) -> None:
    one = session(steps=12, eval_every=5, save_every=4, schedule="constant", warmup_steps=2)
    outcome = train(one)
    assert outcome.step == 12 and outcome.why == "12 steps"
    assert one.backend.steps == [(6, 0.25)] + [(6, 0.5)] * 11
    records = metrics(tmp_path / "run")
    assert [record["step"] for record in records if "loss" in record] == list(range(1, 13))
    assert [record["step"] for record in records if "val_loss" in record] == [5, 10, 12]
    assert records[0]["tokens"] == 48 and records[0]["loss"] == pytest.approx(np.log(50))
    assert outcome.evaluation is not None and outcome.evaluation.loss < np.log(50) - 0.1
    state = verify(tmp_path / "run/checkpoints/step_12").state
    assert state["progress"]["finished"] == "12 steps" and state["loader"]["step"] == 12


def test_the_batches_are_the_loaders_own(session: Any) -> None:
    one = session(steps=3)
    seen: list[Any] = []
    step = one.backend.step

    def spy(micro_batches: Any, lr: float) -> Any:
        assert [len(part.inputs) for part in micro_batches] == [2, 2, 2]
        seen.append(np.concatenate([part.inputs for part in micro_batches]).copy())
        return step(micro_batches, lr)

    one.backend.step = spy
    train(one)
    for number, inputs in enumerate(seen):
        np.testing.assert_array_equal(inputs, one.loader.batch(number).inputs)


def test_a_resumed_run_equals_the_uninterrupted_one(session: Any, tmp_path: Path) -> None:
    settings = {"steps": 20, "eval_every": 3, "save_every": 4, "keep_last": 2}
    train(session("whole", **settings))
    for stop_after in (1, 6, 8, 13):
        run = tmp_path / f"parts-{stop_after}"
        one = session(run.name, **settings)
        _stop_after(one, stop_after, signal.SIGTERM)
        with pytest.raises(Interrupted) as interrupted:
            train(one)
        assert interrupted.value.exit_code == 75 and interrupted.value.hint == f'pylm.train(resume="auto", out="{run}")'
        one.files.folder.close()
        assert steps(run)[-1] == stop_after
        train(session(run.name, checkpoint=verify(run / f"checkpoints/step_{stop_after}"), **settings))
        assert metrics(run) == metrics(tmp_path / "whole")
        for name in ("model", "optimizer"):
            file = f"checkpoints/step_20/{name}.safetensors"
            assert (run / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
        progress = [verify(folder / "checkpoints/step_20").state["progress"] for folder in (run, tmp_path / "whole")]
        assert {**progress[0], "seconds": 0} == {**progress[1], "seconds": 0}


def test_lines_past_the_checkpoint_are_made_again(session: Any, tmp_path: Path) -> None:
    settings = {"steps": 10, "save_every": 4, "eval_every": None}
    train(session("whole", **settings))
    one = session("killed", **settings)
    step = one.backend.step

    def killed(micro_batches: Any, lr: float) -> Any:
        if len(one.backend.steps) == 7:
            raise MemoryError
        return step(micro_batches, lr)

    one.backend.step = killed
    with pytest.raises(MemoryError):
        train(one)
    one.files.saver.wait()
    one.files.folder.close()
    run = tmp_path / "killed"
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # torn
    sound = newest_sound(run)
    assert sound is not None and sound.name == "step_4"
    train(session("killed", checkpoint=verify(sound), **settings))
    assert metrics(run) == metrics(tmp_path / "whole")


def test_ctrl_c_leaves_with_130_and_nothing_lost(session: Any, tmp_path: Path) -> None:
    one = session(steps=9)
    _stop_after(one, 2, signal.SIGINT)
    with pytest.raises(Interrupted) as interrupted:
        train(one)
    assert interrupted.value.exit_code == 130
    assert steps(tmp_path / "run") == [2]


def _stop_after(one: Any, count: int, number: int) -> None:
    step = one.backend.step

    def stopping(micro_batches: Any, lr: float) -> Any:
        if len(one.backend.steps) == count - 1:
            one.hooks.stop.signal = number
        return step(micro_batches, lr)

    one.backend.step = stopping


@pytest.mark.parametrize("at", [4, 8])
def test_a_stop_during_evaluation_saves_and_evaluates_after_the_resume(session: Any, tmp_path: Path, at: int) -> None:
    settings = {"steps": 8, "eval_every": at, "save_every": 100}
    train(session("whole", **settings))
    one = session("parts", **settings)
    evaluate = one.hooks.evaluate

    def slow(backend: Any, stopping: Any) -> Any:
        one.hooks.stop.signal = signal.SIGTERM
        return evaluate(backend, stopping)

    one.hooks.evaluate = slow
    with pytest.raises(Interrupted):
        train(one)
    one.files.folder.close()
    assert steps(tmp_path / "parts") == [at]
    checkpoint = verify(tmp_path / f"parts/checkpoints/step_{at}")
    assert checkpoint.state["progress"]["finished"] is None
    # killed right after that evaluation, before anything was saved again: it is made once more, and stands there once
    again = session("parts", checkpoint=checkpoint, **settings)
    again.backend.step = None
    if at < 8:
        with pytest.raises(TypeError):
            train(again)
    else:
        train(again)
    again.files.saver.wait()
    again.files.folder.close()
    assert (tmp_path / "parts/checkpoints/best").read_text() == f"step_{at}\n"
    assert find(str(tmp_path / "parts")).name == f"step_{at}"  # whose state was saved before its evaluation
    train(session("parts", checkpoint=checkpoint, **settings))
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


@pytest.mark.parametrize("at", [4, 8])
def test_samples_that_a_stop_came_into_are_made_after_the_resume(session: Any, tmp_path: Path, at: int) -> None:
    settings = {"steps": 8, "sample_every": 4, "eval_every": None, "save_every": 100}

    def sampling(one: Any, stopped_at: int | None = None) -> Any:
        def sample(backend: Any, step: int, stopping: Any) -> list[dict[str, str]]:
            if step == stopped_at:
                one.hooks.stop.signal = signal.SIGTERM
            return [{"prompt": "p", "text": f"{step}: {backend.table.sum():.6f}"}]

        one.hooks.sample = sample
        return one

    train(sampling(session("whole", **settings)))
    one = sampling(session("parts", **settings), stopped_at=at)
    with pytest.raises(Interrupted):
        train(one)
    one.files.folder.close()
    checkpoint = verify(tmp_path / f"parts/checkpoints/step_{at}")
    assert checkpoint.state["progress"]["finished"] is None and checkpoint.state["progress"]["sampled"] == at - 4
    assert train(sampling(session("parts", checkpoint=checkpoint, **settings))).why == "8 steps"
    assert read_lines(tmp_path / "parts/samples.jsonl") == read_lines(tmp_path / "whole/samples.jsonl")
    assert [record["step"] for record in read_lines(tmp_path / "parts/samples.jsonl")] == [4, 8]


@pytest.mark.parametrize("at", [3, 4])  # a step that is logged, and one that is saved
def test_a_folder_that_is_removed_under_a_run_ends_it(session: Any, tmp_path: Path, at: int) -> None:
    one = session(steps=9, save_every=2 if at == 4 else None, log_every=3 if at == 3 else 100, eval_every=None)
    step = one.backend.step

    def removing(micro_batches: Any, lr: float) -> Any:
        if len(one.backend.steps) == at - 1:
            one.files.saver.wait()
            shutil.rmtree(tmp_path / "run")
        return step(micro_batches, lr)

    one.backend.step = removing
    with pytest.raises(PylmError, match="run was removed or moved while the run was writing there"):
        train(one)
    assert one.progress.step == at
    one.files.saver.finish()
    assert not (tmp_path / "run").exists()  # and half a run is not made anew


def test_a_checkpoint_is_not_written_into_a_folder_that_is_gone(session: Any, tmp_path: Path) -> None:
    one = session(steps=1)
    shutil.rmtree(tmp_path / "run")
    one.files.saver.save({}, {}, {"step": 1}, False)
    with pytest.raises(CheckpointError, match="run was removed or moved"):
        one.files.saver.wait()
    assert not (tmp_path / "run").exists()


def test_best_and_the_last_ones_are_kept(session: Any, tmp_path: Path) -> None:
    one = session(steps=12, eval_every=2, save_every=2, keep_last=2)
    losses = iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    one.hooks.evaluate = lambda backend, stopping: one_evaluation(next(losses))
    train(one)
    assert steps(tmp_path / "run") == [4, 10, 12]
    assert (tmp_path / "run/checkpoints/best").read_text() == "step_4\n"
    assert (tmp_path / "run/checkpoints/last").read_text() == "step_12\n"


def test_what_is_kept_does_not_depend_on_stops(session: Any, tmp_path: Path) -> None:
    """A stop saves where it is, beside what is kept; once the run has saved by itself, that is gone."""
    settings = {"steps": 12, "save_every": 3, "eval_every": 100, "keep_last": 3}
    train(session("whole", **settings))
    run = tmp_path / "parts"
    checkpoint = None
    for count, after in ((2, 2), (5, 7), (1, 8)):
        one = session("parts", checkpoint=checkpoint, **settings)
        _stop_after(one, count, signal.SIGTERM)
        with pytest.raises(Interrupted):
            train(one)
        one.files.folder.close()
        checkpoint = verify(run / f"checkpoints/step_{after}")
    assert steps(run) == [3, 6, 8]
    train(session("parts", checkpoint=checkpoint, **settings))
    assert steps(run) == steps(tmp_path / "whole") == [6, 9, 12]


def one_evaluation(loss: float) -> Any:
    from pylm.training.loop import Evaluation

    return Evaluation(loss, 1.0, 0.0, None)


def test_evaluations_without_a_new_best_end_the_run(session: Any) -> None:
    one = session(steps=100, eval_every=2, early_stop=3)
    losses = iter([3.0, 2.0, 2.5, float("nan"), 2.0, 1.0])
    one.hooks.evaluate = lambda backend, stopping: one_evaluation(next(losses))
    outcome = train(one)
    assert outcome.step == 10 and outcome.why == "no new best in 3 evaluations"
    assert one.progress.best_step == 4


def test_a_step_that_is_not_finite_is_skipped_and_its_documents_named(session: Any, tmp_path: Path) -> None:
    one = session(steps=8)
    one.backend.poison = {3, 6}
    before: list[Any] = []
    step = one.backend.step

    def watching(micro_batches: Any, lr: float) -> Any:
        before.append(one.backend.table.copy())
        return step(micro_batches, lr)

    one.backend.step = watching
    assert train(one).step == 8
    np.testing.assert_array_equal(before[2], before[3])
    incidents = read_lines(tmp_path / "run/incidents.jsonl")
    assert [(one["step"], one["kind"], one["loss"]) for one in incidents] == [
        (3, "not finite", None),
        (6, "not finite", None),
    ]
    expected = one.loader.why(2)
    found = [(document["shard"], document["index"], document["start"]) for document in incidents[0]["documents"]]
    assert found == [(document.shard, document.index, document.start) for document in expected] and len(found) >= 6


def test_repeated_steps_that_are_not_finite_stop_the_run_with_its_state_saved(session: Any, tmp_path: Path) -> None:
    one = session(steps=100)
    one.backend.poison = {4, *range(10, 30)}
    with pytest.raises(PylmError, match=f"{BAD_STEPS} steps in a row were not finite, the last of them step 14"):
        train(one)
    assert steps(tmp_path / "run")[-1] == 14


def test_a_time_ends_a_run(session: Any) -> None:
    ticks = itertools.count()
    one = session(
        steps=10**6, max_time=0.2, eval_every=None, save_every=None, log_every=100, now=lambda: next(ticks) / 4000
    )
    outcome = train(one)
    assert outcome.why == "its time is up" and 0.196 <= one.progress.seconds <= 0.204 and 0 < outcome.step < 10**6


def test_no_run_is_faster_than_its_peak(session: Any, tmp_path: Path) -> None:
    one = session(steps=4)
    one.plan = replace(
        one.plan, flops_per_token=1e6, matmul_flops=1.0
    )  # measured while the machine was somebody else's
    train(one)
    found = [record["mfu"] for record in read_lines(tmp_path / "run/metrics.jsonl") if "lr" in record]
    assert found[0] == 1.0 and all(0 < share <= 1.0 for share in found)


def test_a_loss_that_jumps_is_an_incident(session: Any, tmp_path: Path) -> None:
    one = session(steps=80, eval_every=None)
    step = one.backend.step

    def jumping(micro_batches: Any, lr: float) -> Any:
        result = step(micro_batches, lr)
        return result._replace(loss=20.0) if len(one.backend.steps) == 70 else result

    one.backend.step = jumping
    train(one)
    assert [(one["step"], one["kind"]) for one in read_lines(tmp_path / "run/incidents.jsonl")] == [(70, "spike")]


def test_a_checkpoint_that_cannot_be_written_ends_the_run(session: Any, tmp_path: Path) -> None:
    one = session(steps=50, save_every=2)
    (tmp_path / "run/checkpoints").write_text("in the way")
    with pytest.raises(OSError):
        train(one)


def test_samples_that_a_signal_stopped_are_made_when_the_run_goes_on(session: Any, tmp_path: Path) -> None:
    def sampler(one: Any, stops_at: int | None) -> Any:
        def sample(backend: Any, step: int, stopping: Any) -> list[dict[str, str]]:
            if step == stops_at:
                one.hooks.stop.signal = signal.SIGTERM
            return [{"prompt": "", "text": f"said at {step}"}]

        return sample

    settings = {"steps": 4, "eval_every": 2, "save_every": 10}
    one = session("stopped", **settings)
    one.hooks.sample = sampler(one, 4)
    with pytest.raises(Interrupted):
        train(one)
    one.files.folder.close()
    run = tmp_path / "stopped"
    assert [record["step"] for record in read_lines(run / "samples.jsonl")] == [2]
    again = session("stopped", checkpoint=verify(run / "checkpoints/step_4"), **settings)
    again.hooks.sample = sampler(again, None)
    assert train(again).step == 4
    assert [record["step"] for record in read_lines(run / "samples.jsonl")] == [2, 4]
