"""`pylm.train`: the command's run from a program, to the bit; events, Ctrl-C, threads, and errors in Python's words."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pylm
from pylm.cli import run as command
from pylm.config.schema import SECTIONS
from pylm.data.stories import stories
from pylm.errors import ConfigError, DataError, Interrupted, PylmError, UsageError
from pylm.training import events
from pylm.training.keywords import TrainKeywords
from tests.support.shards import write_shards

SHAPE: Any = {"n_layers": 1, "n_heads": 2, "d_model": 16, "context_length": 16, "device": "cpu", "compile": False}
SHORT: Any = {**SHAPE, "batch_tokens": 64, "max_steps": 6, "save_every": 3, "eval_every": 3, "eval_batches": 2,
              "log_every": 1, "learning_rate": 1e-2, "backend": "torch"}  # fmt: skip
VOLATILE = {"seconds", "tokens_per_second", "phase", "mfu", "memory"}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYLM_CACHE", str(folder / "cache"))
        write_shards(folder / "ids", 60, np.random.default_rng(2), count=4000)
        pylm.train(data="ids", out="whole", on_event=lambda event: None, **SHORT)
    return folder


@pytest.fixture(autouse=True)
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYLM_CACHE", str(workplace / "cache"))


def weights(run: str | Path, step: int = 6) -> list[bytes]:
    folder = Path(run, f"checkpoints/step_{step}")
    return [(folder / f"{name}.safetensors").read_bytes() for name in ("model", "optimizer")]


def metrics(run: str | Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in VOLATILE} for record in pylm.Run(run).metrics()]


def test_the_function_and_the_command_make_one_run() -> None:
    words = [f"--{key.replace('_', '-')}={value}" for key, value in SHORT.items()]
    assert command(["train", "--data", "ids", "--out", "typed", *words]) == 0
    assert weights("typed") == weights("whole")
    assert metrics("typed") == metrics("whole")
    assert Path("typed/config.yaml").read_text() == Path("whole/config.yaml").read_text()


def test_events_come_in_order_and_as_data() -> None:
    heard: list[events.Event] = []
    run = pylm.train(data="ids", out="heard", on_event=heard.append, **SHORT)
    kinds = [type(event).__name__ for event in heard if not isinstance(event, events.Doing | events.Note)]
    assert kinds[:3] == ["NoValidation", "Probed", "Started"] or kinds[:2] == ["Probed", "Started"]
    steps = [event for event in heard if isinstance(event, events.Stepped)]
    assert [event.step for event in steps] == [1, 2, 3, 4, 5, 6]
    assert [event.loss for event in steps] == [r["loss"] for r in run.metrics() if "loss" in r]
    assert all(event.tokens_per_second > 0 and event.seconds_left >= 0 for event in steps)
    assert [event.step for event in heard if isinstance(event, events.Evaluated)] == [3, 6]
    assert [event.step for event in heard if isinstance(event, events.Saved)] == [3, 6]
    last = heard[-1]
    assert isinstance(last, events.Ended) and (last.run, last.step, last.already) == (Path("heard"), 6, False)
    assert last.val_loss == run.val_loss and last.why == "6 steps"
    assert last.bits_per_byte is None and run.bits_per_byte is None, "no tokenizer says what the ids stand for"
    with pytest.raises(AttributeError):
        last.step = 7  # type: ignore[misc]


def test_a_run_is_read_while_it_goes_on_and_makes_nothing(tmp_path: Path) -> None:
    seen: list[tuple[int, float | None, int]] = []

    def look(event: events.Event) -> None:
        if isinstance(event, events.Stepped) and event.step in (2, 5):
            run = pylm.Run("watched")
            seen.append((run.step, run.val_loss, len(run.metrics())))

    run = pylm.train(data="ids", out="watched", on_event=look, **SHORT)
    assert len(seen) == 2 and seen[0][0] >= 2 and seen[1][1] is not None
    assert run.path == Path("watched") and run.step == 6 and run.finish_reason == "6 steps"
    assert run.config.model.d_model == 16 and run.checkpoint("last").step == 6 and run.checkpoint(3).step == 3
    assert run.val_loss is not None and run.best_loss is not None and run.best_loss <= run.val_loss
    assert "step 6" in repr(run)
    for name, sentence in (("nowhere", "no such folder"), ("ids", "is no run")):
        with pytest.raises(UsageError, match=sentence):
            pylm.Run(name)
    assert not Path("nowhere").exists()


def test_ctrl_c_saves_and_raises_and_the_hint_goes_on() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.Stepped):
            assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
            if event.step == 2:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.5)  # where Python raises KeyboardInterrupt

    with pytest.raises(Interrupted) as interrupted:
        pylm.train(data="ids", out="stopped", on_event=interrupt, **{**SHORT, "max_steps": 2000})
    assert interrupted.value.hint == 'pylm.train(resume="auto", out="stopped")'
    stopped_at = pylm.Run("stopped").step
    assert 2 <= stopped_at < 2000 and pylm.Run("stopped").checkpoint("last").step == stopped_at
    # the lock is free, and the hint is a call that works
    run = eval(interrupted.value.hint.replace("resume", f"max_steps={stopped_at + 1}, resume"), {"pylm": pylm})
    assert run.step == stopped_at + 1


def test_a_stopped_run_that_goes_on_is_the_uninterrupted_one() -> None:
    class Enough(Exception):
        pass

    def stop(event: events.Event) -> None:
        if isinstance(event, events.Stepped) and event.step == 4:
            raise Enough

    # the listener's own exception comes through, once the state is saved
    with pytest.raises(Enough):
        pylm.train(data="ids", out="parts", on_event=stop, **SHORT)
    assert pylm.Run("parts").step >= 4
    pylm.train(out="parts", resume="auto", on_event=lambda event: None)
    assert weights("parts") == weights("whole") and metrics("parts") == metrics("whole")


def test_a_second_ctrl_c_leaves_at_once_and_the_state_is_saved_all_the_same() -> None:
    """A listener that is slow has a queue full of events before it: nobody waits for it once the caller has left."""

    def slow(event: events.Event) -> None:
        if isinstance(event, events.Stepped):
            time.sleep(0.05)
            if event.step in (2, 3):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.2)  # where Python raises KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pylm.train(data="ids", out="twice", on_event=slow, **{**SHORT, "max_steps": 100_000, "save_every": None})
    deadline = time.monotonic() + 60
    while any(thread.name == "pylm-train" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the thread waits for a listener that has left"
        time.sleep(0.05)
    stopped_at = pylm.Run("twice").checkpoint("last").step
    assert pylm.Run("twice").step == stopped_at >= 2
    assert pylm.train(out="twice", resume="auto", max_steps=stopped_at + 1, on_event=print).step == stopped_at + 1


@pytest.mark.parametrize("kind", [SystemExit, asyncio.CancelledError, ValueError])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_whatever_a_listener_raises_comes_out_once_the_state_is_saved(kind: type[Exception], elsewhere: bool) -> None:
    def leave(event: events.Event) -> None:
        if isinstance(event, events.Stepped) and event.step == 2:
            raise kind("enough")

    caught: list[BaseException] = []

    def train() -> None:
        try:
            pylm.train(data="ids", out=out, on_event=leave, **{**SHORT, "max_steps": 5000, "save_every": None})
        except BaseException as error:  # noqa: BLE001 - which is what is looked at
            caught.append(error)

    out = f"left-{kind.__name__}-{elsewhere}"
    thread = threading.Thread(target=train)
    if elsewhere:
        thread.start()
        thread.join()
    else:
        train()
    assert [type(error) for error in caught] == [kind]
    assert pylm.Run(out).checkpoint("last").step >= 2


def test_ctrl_c_while_text_is_tokenized_is_the_same_error(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("".join(stories(3_000_000)))

    heard: list[events.Event] = []

    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.Tokenizing) and not heard:  # a second one would leave at once
            heard.append(event)
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="stopped before the first step") as interrupted:
        pylm.train(tmp_path / "long.txt", out="never", on_event=interrupt, **SHORT)
    assert interrupted.value.exit_code == 130 and not Path("never").exists()


def test_it_runs_in_a_thread() -> None:
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(pylm.train(data="ids", out="threaded", **SHORT)))
    thread.start()
    thread.join()
    assert done[0].step == 6 and weights("threaded") == weights("whole")


def test_a_finished_run_says_so() -> None:
    heard: list[events.Event] = []
    run = pylm.train(out="whole", resume="auto", on_event=heard.append)
    (ended,) = [event for event in heard if isinstance(event, events.Ended)]
    assert ended.already and "max_steps=" in ended.why and "--" not in ended.why and run.step == 6


def test_sections_hold_the_keys_that_two_have() -> None:
    run = pylm.train(data={"path": "ids", "window": "packed"}, model={"window": 8}, out="windows", **SHORT)
    assert (run.config.data.window, run.config.model.window) == ("packed", 8)
    with pytest.raises(ConfigError, match="window could be model.window or data.window") as raised:
        pylm.train(data="ids", window=8, **SHORT)
    assert raised.value.hint == "say which: model={'window': 8}"


@pytest.mark.parametrize(
    ("given", "kind", "message", "hint"),
    [
        ({"data": "nowhere"}, DataError, "nowhere: no such folder or file", "name a folder that pylm tokenize wrote"),
        ({"data": "ids", "preset": "tinny"}, ConfigError, "tinny", "tiny"),
        ({"data": "ids", "learnig_rate": 1}, ConfigError, "no such key: learnig_rate", "learning_rate"),
        ({"data": "ids", "n_layers": "x"}, ConfigError, r"model.n_layers \(n_layers=\)", ""),
        ({}, UsageError, "nothing to train on was named", 'pylm.train("my.txt")'),
        ({"text": "missing.txt"}, DataError, "missing.txt: no such file", "data=DIR"),
        ({"data": "ids", "preset": "tiny", "depth": 2}, UsageError, 'depth= and preset="tiny" both give', ""),
        ({"data": "ids", "out": "whole", **SHORT}, PylmError, "whole holds a run already", 'resume="auto" goes on'),
        ({"data": "ids", "resume": "auto", "init_from": "whole"}, UsageError, "resume= goes on with a run", ""),
        ({"text": "my.txt", "data": {"path": "ids"}}, UsageError, "my.txt is text to tokenize, and path=", "one of"),
        ({"data": "ids", "path": "other"}, UsageError, 'data="ids" is tokens, and path=', "one of the two"),
        (
            {"data": "ids", "model": {"n_layers": 2}, "n_layers": 1},
            ConfigError,
            "model.n_layers is given twice",
            "once",
        ),
        ({"data": "ids", "depth": -1}, UsageError, "depth=-1 is no number of layers", "from 1 to 64"),
        ({"data": "ids", "depth": "4"}, UsageError, 'depth="4" is no number of layers', "from 1 to 64"),
        ({"data": "ids", "depth": 65}, UsageError, "depth=65 is no number", "from 1 to 64"),
        ({"data": "ids", "allow_inexact": "no"}, UsageError, "allow_inexact='no' is neither", ""),
        ({"data": "ids", "on_event": 5}, UsageError, "on_event=5 cannot be called", "function"),
        ({"data": "ids", "model": "tiny"}, UsageError, "model='tiny' is no dict", "such as"),
        ({"data": "ids", "out": 5}, UsageError, "out=5 is no name", "str or a Path"),
        ({"data": "ids", "out": "a\0b"}, UsageError, "is no name", "str or a Path"),
        ({"data": "ids", "preset": 5}, UsageError, "preset=5 is no name", ""),
        ({"data": "ids", "config": {"model": 1}}, UsageError, "is no name", ""),
        ({"data": "ids", "resume": True}, UsageError, "resume=True is no name", ""),
        ({"text": 5}, UsageError, "text=5 is no name", ""),
        ({"text": b"my.txt"}, UsageError, "is no name", ""),
        ({"text": [None]}, DataError, "an empty name: no such file", "data=DIR"),
        ({"text": "Once upon a time. " * 20}, DataError, "Once upon a time.*…: no such file", "name a text"),
        ({"data": "ids", **SHORT, "max_steps": 10**30}, ConfigError, "more than a run counts", "is the most"),
    ],
)
def test_bad_input_is_the_commands_sentence_in_pythons_words(given: Any, kind: Any, message: str, hint: str) -> None:
    with pytest.raises(kind, match=message) as raised:
        pylm.train(given.pop("text", None), **given)
    assert hint in (raised.value.hint or "") and "--" not in f"{raised.value} {raised.value.hint}"


def test_values_are_pythons_or_numpys_and_a_run_is_a_path() -> None:
    shape = {**SHORT, "n_layers": np.int64(1), "learning_rate": np.float64(1e-2), "compile": np.bool_(False)}
    run = pylm.train(data=Path("ids"), out=Path("numpy"), on_event=print, train={"max_steps": 6},
                     **{key: value for key, value in shape.items() if key != "max_steps"})  # fmt: skip
    assert weights(run) == weights("whole")
    branch = pylm.train(data="ids", init_from=run, out="from-a-run", on_event=print, **{**SHORT, "max_steps": 1})
    assert branch.step == 1 and pylm.Run(run).path == Path("numpy")


def test_a_checkpoint_is_there_once_it_is_said_to_be(tmp_path: Path) -> None:
    there: list[tuple[int, bool, bool]] = []

    def look(event: events.Event) -> None:
        if isinstance(event, events.Saved):
            there.append((event.step, (event.checkpoint / "manifest.json").is_file(), event.best))

    pylm.train(data="ids", out="said", on_event=look, **SHORT)
    assert there == [(3, True, True), (6, True, True)]


def test_a_notebook_shows_the_sentence_and_its_hint() -> None:
    with pytest.raises(ConfigError) as raised:
        pylm.train(data="ids", learnig_rate=1)  # type: ignore[call-arg]
    assert raised.value._render_traceback_() == [
        "ConfigError: no such key: learnig_rate",
        "hint: did you mean learning_rate?",
    ]


def test_the_keywords_are_the_keys() -> None:
    keys = [key for name, kind in SECTIONS.items() if name != "finetune" for key in kind.model_fields]
    shared = {key for key in keys if keys.count(key) > 1} - set(SECTIONS["train"].model_fields)
    assert set(TrainKeywords.__annotations__) == set(keys) - shared
    import inspect

    named = inspect.signature(pylm.train).parameters
    assert set(keys) - shared <= set(named) and named["learning_rate"].default == 0.0006
