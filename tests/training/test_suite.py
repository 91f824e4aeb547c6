"""Questions while training: what `pylm.evaluate` says of the checkpoint, at the steps that were named, exactly."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pylm
from pylm import checkpoint
from pylm.cli import run as command
from pylm.config.schema import Config, Eval
from pylm.data.stories import stories
from pylm.errors import ConfigError, DataError, Interrupted, UsageError
from pylm.runs import read_lines
from pylm.training import events, hooks, suite
from pylm.training.events import Answers
from pylm.training.loop import train
from pylm.training.words import said
from tests.training.test_average import SMALL, VOLATILE
from tests.training.test_clock import Machine, T, clocked

WORDS = "the cat sat on a mat that was not his and then it went home to eat".split()
SUITE = """
tasks:
  - {name: mine, file: mine.jsonl, primary: bpb, limit: 15, baseline: 25}
  - {name: free, file: free.jsonl, primary: bpb, prefix: none}
  - {name: away, file: nowhere.jsonl}
score: OURS
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suites")
    (folder / "stories.txt").write_text("".join(stories(40_000)), encoding="utf-8")
    chance = random.Random(1)
    mine = [
        {"query": " ".join(chance.choices(WORDS, k=4)), "choices": chance.sample(WORDS, 3), "gold": chance.randrange(3)}
        for _ in range(25)
    ]
    free = [{"context": " ".join(chance.choices(WORDS, k=4)), "continuation": chance.choice(WORDS)} for _ in range(9)]
    for name, items in (("mine", mine), ("free", free)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (folder / "suite.yaml").write_text(SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYLM_CACHE", str(folder / "cache"))
        assert command(["tokenize", "stories.txt", "--vocab-size", "280", "--val", "0.1", "--out", "data"]) == 0
        trained("plain", sample_every=4)
        trained("whole", suite="suite.yaml", suite_every=3, sample_every=4)
    return folder


@pytest.fixture(autouse=True)
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYLM_CACHE", str(workplace / "cache"))


def trained(out: str, **keys: Any) -> list[events.Event]:
    heard: list[events.Event] = []
    shutil.rmtree(out, ignore_errors=True)
    pylm.train(data="data", out=out, on_event=heard.append, **{**SMALL, "sample": {"max_tokens": 12}, **keys})
    return heard


def metrics(run: str | Path) -> list[dict[str, Any]]:
    records = read_lines(Path(run) / "metrics.jsonl")
    return [{key: value for key, value in record.items() if key not in VOLATILE} for record in records]


def lines(run: str | Path, kind: str) -> dict[int, dict[str, Any]]:
    return {line["step"]: line for line in metrics(run) if kind in line}


@pytest.mark.parametrize("backend", ["torch", "mlx"])
def test_the_answers_are_those_of_the_checkpoint_and_of_its_average(backend: str) -> None:
    if backend == "mlx":
        pytest.importorskip("mlx.core")
    keys = {"suite": "suite.yaml", "suite_every": 4, "average": "mean", "average_every": 1, "sample_every": None}
    heard = trained("asked", backend=backend, tasks="free.jsonl", **keys)
    found = lines("asked", "suite")
    assert sorted(found) == [4, 8, 9]  # every so many steps, and at the end
    for step, line in found.items():
        for name, told in ((f"asked/step_{step}", line), (f"asked/step_{step}/average", line["average"])):
            of = pylm.evaluate(name, suite="suite.yaml", tasks="free.jsonl", backend="native", out="e.jsonl")
            assert list(told["tasks"]) == ["free.jsonl", "mine", "free"]
            for result in of.tasks:
                assert told["tasks"][result.task] == pytest.approx(result.metrics[result.primary], rel=2e-5)
            bits = [result.metrics["bpb"] for result in of.tasks if result.primary == "bpb"]
            assert told["means"]["bpb"] == pytest.approx(np.mean(bits), rel=2e-5) and len(told["means"]) == 2
        assert line["metrics"] == {"free.jsonl": "acc", "mine": "bpb", "free": "bpb"} and line["suite"] == "suite"
    assert found[4]["tasks"]["mine"] != found[4]["average"]["tasks"]["mine"] != found[9]["average"]["tasks"]["mine"]
    told = [event for event in heard if isinstance(event, events.Asked)]
    assert [event.step for event in told] == [4, 8, 9] and told[0].answers.tasks == found[4]["tasks"]
    notes = [event.text for event in heard if isinstance(event, events.Note)]
    assert [note for note in notes if note.startswith("not asked: away: there is no test nowhere.jsonl")]


def test_questions_begin_with_what_the_run_says() -> None:
    trained("bare", suite="suite.yaml", sample_every=None, prefix="none")
    asked = {"suite": "suite.yaml", "backend": "native", "out": "e.jsonl"}
    told = lines("bare", "suite")[9]["tasks"]
    for result in pylm.evaluate("bare/step_9", prefix="none", **asked).tasks:
        assert told[result.task] == pytest.approx(result.metrics[result.primary], rel=2e-5)
    bits = {result.task: result.metrics["bpb"] for result in pylm.evaluate("bare/step_9", **asked).tasks}
    assert bits["mine"] != pytest.approx(told["mine"], rel=4e-5)  # so the numbers above were not those of eot


def test_asking_changes_nothing_of_the_run() -> None:
    for file in ("model.safetensors", "optimizer.safetensors"):
        ours, plain = (Path(run, "checkpoints/step_9", file).read_bytes() for run in ("whole", "plain"))
        assert ours == plain
    kept = [line for line in metrics("whole") if "suite" not in line and "samples" not in line]
    assert kept == metrics("plain")
    # samples are drawn at each suite as well, the same ones as without at steps of both
    drawn, plain = (pylm.Run(run).samples() for run in ("whole", "plain"))
    assert {one["step"] for one in drawn} == {3, 4, 6, 8, 9} and {one["step"] for one in plain} == {4, 8}
    assert [one for one in drawn if one["step"] in (4, 8)] == plain


@pytest.mark.parametrize("backend", ["torch", "mlx"])
def test_a_stop_within_the_suite_asks_it_when_the_run_goes_on(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in its middle, before it and after a step: the same lines, and the same weights."""
    keys = {"suite": "suite.yaml", "suite_every": 3, "sample_every": 4, "backend": backend}
    if backend == "mlx":
        pytest.importorskip("mlx.core")
        trained("mlx", **keys)
    whole = {"torch": "whole", "mlx": "mlx"}[backend]
    asks, stops = suite.Asker.__call__, ["within", "before"]

    def stopping(asker: Any, backend: Any, stop: Any) -> Any:
        if not stops:
            return asks(asker, backend, stop)
        polls = iter(range(1 if stops.pop(0) == "within" else 0))

        def polled() -> bool:
            if next(polls, None) is None:
                stop.ask(signal.SIGTERM)
            return bool(stop())

        return asks(asker, backend, polled)

    monkeypatch.setattr(suite.Asker, "__call__", stopping)
    with pytest.raises(Interrupted):
        trained("parts", **keys)
    assert not lines("parts", "suite") and sorted(lines("parts", "samples")) == [3]
    with pytest.raises(Interrupted):
        pylm.train(out="parts", resume="auto", on_event=lambda event: None)
    pylm.train(out="parts", resume="auto", on_event=lambda event: None)
    assert metrics("parts") == metrics(whole) and sorted(lines("parts", "suite")) == [3, 6, 9]
    assert pylm.Run("parts").samples() == pylm.Run(whole).samples()
    for file in ("model.safetensors", "optimizer.safetensors"):
        ours, wanted = (Path(run, "checkpoints/step_9", file).read_bytes() for run in ("parts", whole))
        assert ours == wanted


def test_a_killed_run_asks_again_what_its_checkpoint_had_not_seen(session: Any, tmp_path: Path) -> None:
    def asking(one: Any) -> Any:
        one.plan = replace(one.plan, config=one.plan.config.model_copy(update={"eval": Eval(suite="s", suite_every=2)}))
        one.hooks.ask = lambda backend, stopping: Answers("s", {"a": float(backend.table.sum())}, {"a": "bpb"}, {}, {})
        return one

    settings: Any = {"steps": 7, "eval_every": None, "save_every": 3, "keep_last": 9}
    train(asking(session("whole", **settings)))
    one = asking(session("killed", **settings))
    step = one.backend.step

    def killed(*arguments: Any) -> Any:
        if one.progress.step == 5:
            raise MemoryError
        return step(*arguments)

    one.backend.step = killed
    with pytest.raises(MemoryError):
        train(one)
    one.files.saver.wait()
    one.files.folder.close()
    assert sorted(lines(tmp_path / "killed", "suite")) == [2, 4]
    saved = checkpoint.verify(tmp_path / "killed/checkpoints/step_3")
    assert saved.state["progress"]["asked"] == 2
    train(asking(session("killed", checkpoint=saved, **settings)))
    found = lines(tmp_path / "killed", "suite")
    assert found == lines(tmp_path / "whole", "suite") and sorted(found) == [2, 4, 6, 7]


def test_a_checkpoint_from_before_there_were_suites_goes_on(session: Any) -> None:
    from pylm.training.progress import Progress

    older = {key: value for key, value in Progress(step=4).stored().items() if key != "asked"}
    assert Progress.restored(older) == Progress(step=4)


@pytest.mark.parametrize("every", [None, 40, "auto"])
@pytest.mark.parametrize("cost", [2.0, 12.0])
def test_a_run_under_a_clock_has_time_for_its_suites(session: Any, every: Any, cost: float) -> None:
    """They are no time of training, and of the run: it lands, however long they take."""
    machine, asked = Machine(evaluation=0.5), []
    one = clocked(session, machine, eval_every=30)

    def ask(backend: Any, stopping: Any) -> Answers:
        machine.seconds += cost
        asked.append(one.progress.step)
        return Answers("s", {}, {}, {}, {})

    one.plan = replace(one.plan, config=one.plan.config.model_copy(update={"eval": Eval(suite="s", suite_every=every)}))
    one.hooks.ask, one.hooks.suite_tokens = ask, round(48 * cost / 0.4)
    outcome = train(one)
    assert one.progress.seconds == machine.seconds == pytest.approx(T, rel=0.02)
    step = {None: outcome.step, 40: 40, "auto": 30}[every]
    assert asked == sorted({*range(step, outcome.step, step), outcome.step})


def test_its_time_is_no_time_of_training(session: Any, tmp_path: Path) -> None:
    one = session("run", steps=4, eval_every=None)
    one.plan = replace(one.plan, config=one.plan.config.model_copy(update={"eval": Eval(suite="s", suite_every=2)}))
    one.hooks.ask = lambda backend, stopping: time.sleep(0.1) or Answers("s", {}, {}, {}, {})
    train(one)
    phases = {line["step"]: line["phase"] for line in read_lines(tmp_path / "run/metrics.jsonl") if "lr" in line}
    assert [step for step, phase in phases.items() if phase.get("eval", 0) >= 0.1] == [3]  # the line after step 2's


def test_samples_are_measured_where_the_suite_is_asked() -> None:
    found = lines("whole", "samples")
    assert sorted(found) == [3, 6, 9]
    texts = [one["text"] for one in pylm.Run("whole").samples() if one["step"] == 6]
    assert found[6]["samples"] == len(texts) == 2 and 0 < found[6]["distinct_1"] <= 1
    data = "\n".join(texts).encode()
    assert found[6]["zlib_ratio"] == len(data) / len(zlib.compress(data, 9))


def test_what_stands_in_the_training_shards_is_not_new() -> None:
    """Ten tokens of a shard, then as many that no text has; and the shards are those of each folder of a mix."""
    config = Config.model_validate({"data": {"path": "data"}})
    ids = np.fromfile("data/train_00000.bin", np.uint16)[100:110].tolist()
    sample = {"text": "so it was", "ids": [*ids, *[7] * 10]}
    found = hooks.measurer(config, print)([sample], lambda: False)
    assert found is not None and (found["novelty"], found["longest_copied"]) == (0.5, 10.0)
    assert found["distinct_1"] == (len(set(ids) | {7})) / 20 and found["repetition"] == 6 / 17
    assert hooks.measurer(config, print)([sample], lambda: True) is None
    told: list[Any] = []
    gone = Config.model_validate({"data": {"mix": {"data": 1, "elsewhere": 1}}})
    found = hooks.measurer(gone, told.append)([sample], lambda: False)
    assert found is not None and found["novelty"] is None and "novelty is not known" in told[0].text


@pytest.mark.parametrize(
    ("keys", "error", "words"),
    [
        ({"suite": "quikc"}, UsageError, "there is no suite quikc"),
        ({"suite": "gone.yaml"}, UsageError, "none of the 1 tasks of gone is here: there is no test nowhere"),
        ({"tasks": "mine.jsonl,nowhere"}, UsageError, "there is no test nowhere"),
        ({"suite_every": 3}, ConfigError, "suite_every= is for questions, and none are named"),
        ({"limit": 3}, ConfigError, "limit= is for questions"),
        ({"prefix": "none"}, ConfigError, "prefix= is for questions"),
    ],
)
def test_what_cannot_be_asked_is_said_before_text_is_tokenized(keys: Any, error: Any, words: str) -> None:
    Path("gone.yaml").write_text("tasks: [{name: gone, file: nowhere}]")
    Path("fresh.txt").write_text("".join(stories(5_000)))
    with pytest.raises(error) as raised:
        pylm.train("fresh.txt", out="refused", on_event=lambda event: None, **{**SMALL, **keys})
    assert words in raised.value.message
    assert not Path("refused").exists() and not Path("data/fresh").exists()


def test_a_malformed_line_and_a_task_that_is_named_twice_are_said_before_the_first_step() -> None:
    Path("broken.jsonl").write_text('{"query": "a", "choices": ["b", "c"], "gold": 0}\n{\n')
    with pytest.raises(DataError, match=r"broken.jsonl line 2 is no JSON object"):
        trained("refused", tasks=["broken.jsonl"])
    with pytest.raises(UsageError, match="mine.jsonl is asked twice"):
        trained("refused", tasks=["mine.jsonl", "mine.jsonl"])
    assert not Path("refused").exists()


def test_a_run_that_goes_on_may_be_asked_something_else() -> None:
    shutil.copytree("plain", "more", dirs_exist_ok=True)
    keys: Any = {"max_steps": 11, "tasks": "mine.jsonl", "limit": 4, "suite_every": 10}
    run = pylm.train(out="more", resume="auto", on_event=lambda event: None, **keys)
    found = lines("more", "suite")
    assert sorted(found) == [10, 11] and run.config.eval.tasks == ("mine.jsonl",)
    of = pylm.evaluate("more/last", tasks="mine.jsonl", limit=4, out="e.jsonl")
    assert found[11]["tasks"] == {"mine.jsonl": of.tasks[0].metrics["acc_norm"]}


def test_a_run_that_goes_on_may_be_asked_nothing_more_and_not_how_often() -> None:
    shutil.copytree("whole", "fewer", dirs_exist_ok=True)
    pylm.train(out="fewer", resume="auto", on_event=lambda event: None, max_steps=12, suite=None)
    assert sorted(lines("fewer", "suite")) == [3, 6, 9]
    with pytest.raises(ConfigError, match="suite_every= is for questions, and none are named"):
        pylm.train(out="plain", resume="auto", on_event=lambda event: None, max_steps=12, suite_every=2)


def test_weights_that_give_no_number_do_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "_engine_of", lambda backend, model: Broken())
    heard = trained("broken", suite="suite.yaml", sample_every=None)
    line = lines("broken", "suite")[9]
    assert line["tasks"] == {"mine": None, "free": None} and line["means"] == {}
    [event] = [event for event in heard if isinstance(event, events.Asked)]
    assert said(event) == ["step 9: suite: no number, for the weights are not finite"]


class Broken:
    """An engine whose weights are NaN."""

    context_length = 16

    def score(self, branches: Any, cache: Any) -> Any:
        from pylm.generation.branches import Scored

        count = len(branches.targets)
        return Scored(np.full(count, np.nan, np.float32), np.zeros(count, bool))


def test_the_line_names_scores_means_and_what_is_alone() -> None:
    tasks = {"a": 1.25, "b": 0.75, "c": 0.5}
    answers = Answers("core", dict(tasks), {"a": "bpb", "b": "bpb", "c": "acc"}, {"bpb": 1.0, "acc": 0.5}, {"X-1": 0.3})
    assert said(events.Asked(7, answers)) == ["step 7: core: X-1 0.3000, bpb 1.0000 over 2 tasks, c acc 0.5000"]
    assert said(events.Asked(7, answers, answers))[0].count("bpb 1.0000") == 2
