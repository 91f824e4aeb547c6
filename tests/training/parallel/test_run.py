"""A run of several processes is the run of one: what it writes, how it stops, goes on and fails."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.data.stories import stories
from tests.support.ranks import in_world, lines
from tests.support.shards import write_shards

SHORT: Any = {
    "n_layers": 1, "n_heads": 2, "d_model": 16, "context_length": 16, "device": "cpu", "compile": False,
    "batch_tokens": 128, "micro_batch": 1, "max_steps": 6, "save_every": 3, "eval_every": 3, "eval_batches": 3,
    "log_every": 1, "learning_rate": 1e-3, "backend": "torch", "precision": "fp32", "sample_every": None,
}  # fmt: skip


def trained(given: dict[str, Any], out: str, before: Any = None, resume: str | None = None) -> Any:
    """Train in this process, and return the events that it heard, by name, or how it failed."""
    from pylm.config.given import Given
    from pylm.errors import PylmError
    from pylm.runs import Stop
    from pylm.training.request import Request
    from pylm.training.run import train

    settings = tuple((f"train.{key}" if key not in MODEL else MODEL[key], value, key) for key, value in given.items())
    heard: list[Any] = []
    stop = Stop()
    if before is not None:
        before(int(os.environ.get("RANK", "0")), stop, heard)
    named: Any = {"text": ("my.txt",)} if "vocab_size" in given else {"data": "ids"}
    request = Request(Given("train", settings=settings), out=Path(out), resume=resume, **named)
    try:
        train(request, heard.append, stop=stop)
    except PylmError as error:
        return type(error).__name__, error.exit_code, error.message, error.hint
    return [type(event).__name__ for event in heard]


MODEL = {
    **{key: f"model.{key}" for key in ("n_layers", "n_heads", "d_model", "context_length")},
    "log_every": "metrics.log_every",
    "vocab_size": "model.vocab_size",
    "max_tokens": "sample.max_tokens",
    "tasks": "eval.tasks",
    "suite_every": "eval.suite_every",
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    write_shards(folder / "ids", 60, np.random.default_rng(2), count=4000)
    (folder / "my.txt").write_text("".join(stories(20_000)), encoding="utf-8")
    asked = [{"query": "the cat", "choices": [" sat", " ran"], "gold": gold} for gold in (0, 1)]
    (folder / "mine.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    return folder


@pytest.fixture(autouse=True)
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYLM_CACHE", str(workplace / "cache"))


def test_two_processes_write_the_run_of_one():
    [alone] = in_world(1, trained, SHORT, "alone")
    first, other = in_world(2, trained, SHORT, "two")
    kept = [[event for event in heard if event != "Saved"] for heard in (alone, first)]  # a thread says when it is
    assert kept[0] == kept[1] and first.count("Saved") == alone.count("Saved") > 0
    assert first[-1] == "Ended" and other == []
    keys = ("step", "loss", "val_loss", "accuracy", "bits_per_byte", "lr", "grad_norm", "tokens")
    np.testing.assert_allclose(lines("two", *keys), lines("alone", *keys), rtol=0, atol=1e-6)
    names = [sorted(str(path.relative_to(run)) for path in Path(run).rglob("*")) for run in ("alone", "two")]
    assert names[0] == names[1]


def bits(run: str, step: int = 6) -> list[bytes]:
    folder = Path(run, f"checkpoints/step_{step}")
    return [(folder / f"{name}.safetensors").read_bytes() for name in ("model", "optimizer")]


BITWISE: Any = {**SHORT, "determinism": "bitwise", "optimizer": "muon", "schedule": "constant", "warmup_steps": 0,
                "average": "ema", "average_every": 1}  # fmt: skip


def test_bitwise_any_number_of_processes_goes_on_with_a_run_of_any_other():
    in_world(1, trained, BITWISE, "bits1")
    in_world(4, trained, BITWISE, "bits4")
    in_world(2, trained, {**BITWISE, "max_steps": 3}, "half")
    in_world(1, trained, {"max_steps": 6}, "half", None, "auto")
    keys = ("step", "loss", "val_loss", "average_val_loss", "grad_norm")
    for run in ("bits4", "half"):
        assert bits(run) == bits("bits1")
        np.testing.assert_array_equal(lines(run, *keys), lines("bits1", *keys))


def test_a_stop_of_one_process_stops_all_and_the_run_goes_on_to_the_same_end():
    in_world(2, trained, SHORT, "whole")
    ends = in_world(2, trained, SHORT, "stopped", stop_at_step_2)
    assert {end[:2] for end in ends} == {("Interrupted", 75)}
    assert "stopped after step 2" in ends[0][2]
    in_world(2, trained, {}, "stopped", None, "auto")
    assert bits("stopped") == bits("whole")


def stop_at_step_2(rank: int, stop: Any, heard: Any) -> None:
    """Ask the second process alone, within its second step."""
    from pylm.training.torch_backend.backend import TorchBackend

    plain = TorchBackend.step

    def step(self: Any, *args: Any) -> Any:
        self.taken = getattr(self, "taken", 0) + 1
        if rank == 1 and self.taken == 2:
            stop.ask(15)
        return plain(self, *args)

    TorchBackend.step = step  # type: ignore[method-assign]


def fail_at_step_2(rank: int, stop: Any, heard: Any) -> None:
    from pylm.errors import DataError
    from pylm.training.torch_backend.backend import TorchBackend

    plain = TorchBackend.step

    def step(self: Any, *args: Any) -> Any:
        self.taken = getattr(self, "taken", 0) + 1
        if rank == 1 and self.taken == 2:
            raise DataError("its disk is gone", "buy another")
        return plain(self, *args)

    TorchBackend.step = step  # type: ignore[method-assign]


def test_what_fails_in_one_process_is_said_by_the_first_and_ends_all_alike():
    first, other = in_world(2, trained, SHORT, "failed", fail_at_step_2)
    assert first == ("PylmError", 1, "rank 1: its disk is gone", "buy another")
    assert other == ("DataError", 1, "its disk is gone", "buy another")


def test_processes_that_were_asked_for_different_things_are_refused():
    first, other = in_world(2, trained_by_rank, [SHORT, {**SHORT, "learning_rate": 2e-3}])
    assert first == other == ("UsageError", 2, "what is asked of rank 1 is not that of rank 0",
                              "start all processes with the same line and files")  # fmt: skip
    assert not Path("of rank 0").exists()


def trained_by_rank(given: list[dict[str, Any]]) -> Any:
    return trained(given[int(os.environ["RANK"])], "of rank 0")


def with_other_code(rank: int, stop: Any, heard: Any) -> None:
    from pylm.training import ranks

    own = ranks._code()
    if rank:
        ranks._code = lambda: ("1" if own[0] == "0" else "0") + own[1:]  # type: ignore[assignment]


def test_processes_with_other_code_are_refused():
    first, other = in_world(2, trained, SHORT, "of other code", with_other_code)
    assert first == other == ("UsageError", 2, "the code of rank 1 is not that of rank 0",
                              "install the same pylm everywhere")  # fmt: skip


def test_processes_with_other_data_are_refused(tmp_path):
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
        write_shards(tmp_path / str(rank) / "ids", 60, np.random.default_rng(rank), count=4000)
    first, other = in_world(2, trained_elsewhere, str(tmp_path))
    assert first == other == ("UsageError", 2, "the data of rank 1 is not that of rank 0",
                              "give all processes the same files")  # fmt: skip


def trained_elsewhere(folder: str) -> Any:
    os.chdir(Path(folder, os.environ["RANK"]))
    return trained(SHORT, "run")


def test_processes_that_go_on_from_different_checkpoints_are_refused(tmp_path):
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
        write_shards(tmp_path / str(rank) / "ids", 60, np.random.default_rng(0), count=4000)
    in_world(1, trained_elsewhere, str(tmp_path))
    first, other = in_world(2, going_on_elsewhere, str(tmp_path))
    assert first == other == ("UsageError", 2, "the checkpoint of rank 1 is not that of rank 0",
                              "the run's folder is to be on a disk that all processes share")  # fmt: skip


def going_on_elsewhere(folder: str) -> Any:
    os.chdir(Path(folder, os.environ["RANK"]))
    return trained({}, "run", None, "auto")


@pytest.mark.parametrize(
    ("size", "given", "message", "hint"),
    [
        (3, {}, "3 devices cannot share a step of 8 sequences evenly (batch_tokens 128, context_length 16)",
         "batch_tokens=96 or batch_tokens=144"),
        (2, {"parallel": "none"}, "parallel=\"none\" is of one process, and 2 were started",
         "start one, or leave parallel= out"),
        (2, {"determinism": "bitwise", "batch_tokens": 192},
         "determinism=\"bitwise\" adds up a power of two of passes, and a step has 12 of 1 sequences",
         "batch_tokens=128 or batch_tokens=256"),
    ],
)  # fmt: skip
def test_what_several_processes_cannot_share_is_refused_with_what_they_can(size, given, message, hint):
    given = {**SHORT, "micro_batch": "auto" if size == 3 else 1, **given}
    ends = in_world(size, trained, given, "refused")
    assert ends[0][2:] == (message, hint) and len(set(ends)) == 1
    assert not Path("refused").exists()


def test_the_clock_of_the_first_process_decides_for_all():
    given = {**SHORT, "max_steps": None, "max_time": 1.0, "schedule": "linear"}
    first, other = in_world(2, trained, given, "timed", slow_clock)
    assert first[-1] == "Ended" and other == []
    [rate, *_] = lines("timed", "lr")[lines("timed", "loss")[:, 0] > 0][::-1]
    assert rate == 0.0


def slow_clock(rank: int, stop: Any, heard: Any) -> None:
    """Let the second process's clock go a hundred times as fast."""
    import time

    plain = time.perf_counter
    if rank:
        time.perf_counter = lambda: 100 * plain()  # type: ignore[assignment]


def test_text_is_tokenized_sampled_and_asked_about_by_the_first_process_alone():
    given = {**SHORT, "determinism": "bitwise", "vocab_size": 270, "sample_every": 3, "max_tokens": 8,
             "tasks": "mine.jsonl", "suite_every": 2}  # fmt: skip
    in_world(1, trained, given, "asked1")
    first, other = in_world(2, trained, given, "asked2", only_the_first)
    assert {"Tokenized", "Sampled", "Asked"} <= set(first) and other == []
    assert Path("asked1/samples.jsonl").read_text() == Path("asked2/samples.jsonl").read_text()
    kept = [[{key: one[key] for key in ("step", "tasks", "novelty", "loss") if key in one} for one in records(run)]
            for run in ("asked1", "asked2")]  # fmt: skip
    assert kept[0] == kept[1] and any("novelty" in one for one in kept[0])


def records(run: str) -> list[dict[str, Any]]:
    import pylm

    return list(pylm.Run(run).metrics())


def only_the_first(rank: int, stop: Any, heard: Any) -> None:
    """Let whatever only the first process may do fail on the other."""
    from pylm.training import hooks, inputs
    from pylm.training.torch_backend.backend import TorchBackend

    if rank:
        hooks.asker = inputs.tokenize = TorchBackend.logits = None  # type: ignore[assignment, method-assign]


def test_a_step_stays_what_it_was_begun_with_on_any_number_of_processes():
    given = {**SHORT, "batch_tokens": None, "grad_accum_steps": 4, "max_steps": 3}
    in_world(1, trained, given, "begun")
    in_world(2, trained, {"max_steps": 6}, "begun", None, "auto")
    tokens = lines("begun", "step", "tokens")
    assert tokens[-1].tolist() == [6, 6 * 4 * 16] and (tokens[:, 1] == 64 * tokens[:, 0]).all()
