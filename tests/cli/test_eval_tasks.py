"""`pylm eval --tasks`, `--suite`: tables, what is kept, checkpoints side by side, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pylm
from pylm.cli import run
from pylm.errors import UsageError
from pylm.evaluation.compare import compare
from pylm.evaluation.scoring import Scorer
from pylm.evaluation.tasks import Task
from pylm.evaluation.tasks import run as run_tasks
from pylm.statistics import mcnemar
from tests.evaluation.scoring.test_tasks import made, written
from tests.generation.small import small_model, small_tokenizer, write_run
from tests.support.alone import stand_alone

SUITE = """
score: CORE
tasks:
  - {name: mine, file: mine.jsonl, shots: 2, baseline: 25, limit: 12}
  - {name: away, file: nowhere.jsonl}
"""


@pytest.fixture(autouse=True)
def two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_alone(tmp_path, monkeypatch)
    tokenizer = small_tokenizer()
    for name, seed in (("a", 1), ("b", 2)):
        write_run(tmp_path / "runs" / name, small_model(tokenizer.vocab_size, seed, context_length=256), tokenizer)
    written(Path("mine.jsonl"), made("choice", 40))
    written(Path("text.jsonl"), made("text", 10))
    Path("suite.yaml").write_text(SUITE)


def kept(run_: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(f"runs/{run_}/evaluations.jsonl").read_text().splitlines()]


def test_a_table_of_tasks_and_a_line_for_each_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "runs/a", "--tasks", "mine.jsonl,text.jsonl", "--limit", "30"]) == 0
    head, mine, text, *rest = capsys.readouterr().out.splitlines()
    [result] = run_tasks(Scorer.open("runs/a"), ["mine.jsonl"], limit=30)
    assert head.split()[:3] == ["task", "checkpoint", "questions"] and "loss" not in head
    assert mine.split()[:3] == ["mine.jsonl", "runs/a/checkpoints/step_5", "30"]
    for metric in ("acc", "acc_norm", "acc_bytes", "acc_token", "bpb"):
        assert mine.split()[head.split().index(metric)] == f"{result.metrics[metric]:.4f}"
    assert f"acc_norm  {result.stderr['acc_norm']:.4f}" in mine and text.split()[2] == "10" and not rest
    lines = kept("a")
    assert {(line["task"], line["metric"]) for line in lines} >= {("mine.jsonl", "acc_norm"), ("text.jsonl", "acc")}
    [line] = [line for line in lines if (line["task"], line["metric"]) == ("mine.jsonl", "bpb")]
    assert line["value"] == pytest.approx(result.metrics["bpb"]) and line["stderr"] == pytest.approx(
        result.stderr["bpb"]
    )
    assert line["n"] == 30 and line["checkpoint"] == "step_5" and line["settings"] == result.fingerprint


def test_a_suite_says_its_score_and_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "runs/a", "--suite", "suite.yaml"]) == 0
    out = capsys.readouterr().out
    found = pylm.evaluate("runs/a", suite="suite.yaml")
    assert found.suite is not None and found.suite.score is not None
    name, value = found.suite.score
    assert name == "CORE-1" and f"CORE-1 {value:.4f}, the mean of the centred accuracies" in out
    assert "not here: away: there is no test nowhere.jsonl" in out and found.tasks[0].n == 12
    assert [line for line in kept("a") if line["task"] == "CORE-1"][0]["value"] == pytest.approx(value)
    assert run(["eval", "runs/a", "--suite", "suite.yaml", "--json", "--out", "e.jsonl"]) == 0
    [told] = json.loads(capsys.readouterr().out)["evaluations"]
    assert told["suite"]["score"]["value"] == pytest.approx(value) and "away" in told["suite"]["missing"]
    assert told["tasks"][0]["settings"]["shots"] == 2 and "loss" not in told


def test_checkpoints_side_by_side_question_by_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "runs/a", "runs/b", "runs/a", "--tasks", "mine.jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:4]] == [f"runs/{x}/checkpoints/step_5" for x in "aba"]
    other, same = [line for line in lines if "against" in line]
    assert (
        "mine.jsonl acc_norm" in other
        and "40 questions" in other
        and same.endswith("p = 1, 40 questions): not distinguishable")
    )
    a, b = (pylm.evaluate(f"runs/{name}", tasks="mine.jsonl") for name in "ab")
    [compared] = compare(a, b)
    one, two = (found.tasks[0].items["acc_norm"] for found in (a, b))
    assert compared.difference.value == pytest.approx(sum(two) / 40 - sum(one) / 40)
    assert compared.difference.p == pytest.approx(mcnemar(list(map(bool, one)), list(map(bool, two))))


def test_what_differs_is_better_or_worse_by_what_its_metric_means() -> None:
    task = Task("t", "mine.jsonl", primary="bpb")
    a, b = (pylm.evaluate(f"runs/{name}", tasks=[task]) for name in "ab")
    [bits], [back] = compare(a, b), compare(b, a)
    assert {bits.verdict, back.verdict} in ({"better", "worse"}, {"not distinguishable"})
    if bits.verdict != "not distinguishable":
        assert (bits.verdict == "better") == (b.tasks[0].metrics["bpb"] < a.tasks[0].metrics["bpb"])
    assert compare(a, pylm.evaluate("runs/b", tasks=[task], limit=7)) == [], "other questions are no pairs"


def test_losses_and_tasks_stand_together_where_data_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("val.jsonl").write_text('{"text": "the cat sat on the mat"}\n' * 5)
    assert run(["eval", "runs/a", "--data", "val.jsonl", "--tasks", "mine.jsonl", "--json"]) == 0
    [told] = json.loads(capsys.readouterr().out)["evaluations"]
    alone = pylm.evaluate("runs/a", data="val.jsonl")
    assert told["loss"] == alone.loss and told["fingerprint"] == alone.fingerprint and told["tasks"][0]["n"] == 40


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tasks", "mine.json"], "there is no test mine.json"),
        (["--tasks", "mine.jsonl,"], "a task has no name"),
        (["--tasks", ""], "a task has no name"),
        (["--harness", ""], "a task has no name"),
        (["--by", ""], "by is ''"),
        (["runs/c", "--tasks", "mine.jsonl"], "no checkpoint at runs/c"),
        (["--tasks", "broken.jsonl"], "broken.jsonl line 2 is no JSON object"),
        (["--tasks", "mine.jsonl", "--shots", "40"], "asks for 40 examples, and mine.jsonl has 40 items"),
        (["--tasks", "mine.jsonl", "--shots", "-1"], "shots is -1"),
        (["--suite", "cor"], "did you mean core?"),
        (["--suite", "suite.yaml", "--shots", "2"], "--shots is for tasks that are named"),
        (["--tasks", "mine.jsonl", "--include-path", "."], "--include-path is for the harness"),
        (["--tasks", "mine.jsonl", "--tokenizer", "nowhere"], "nowhere"),
        (["--template", "{{ a }}"], "--template is for tasks that are named"),
        (["--tasks", "mine.jsonl", "--baseline", "25"], "a share below 1, such as 0.25"),
        (["--tasks", "mine.jsonl", "--primary", "acc_nrom"], "did you mean acc_norm"),
        (["--tasks", "mine.jsonl", "--template", "{{ a.b }}"], "getattr is not allowed"),
        (["--tasks", ",", "--baseline", "0.5"], "is no name of a task"),
        (["--tasks", "parted.csv"], 'no column "prompt"\nhint: it has: prompt;choices;answer'),
        (["--data", "mine.jsonl"], "pylm tokenize FILE --field NAME --tokenizer RUN --out DIR reads another field"),
        (["--tasks", "mine.jsonl", "--out", "./mine.jsonl"], "appended to mine.jsonl: it is what is asked"),
        (["--suite", "suite.yaml", "--out", "mine.jsonl"], "appended to mine.jsonl: it is what is asked"),
        (["--data", "said.jsonl", "--out", "said.jsonl"], "appended to said.jsonl: it is what is asked"),
        (["--texts", "3", "--limit", "2"], "--limit is for windows, documents and questions"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence_and_leaves_nothing(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.jsonl").write_text('{"query": "a", "choices": ["b", "c"], "gold": 0}\n{\n')
    Path("parted.csv").write_text('prompt;choices;answer\na;["b"];0\n')
    Path("said.jsonl").write_text('{"text": "the cat"}\n')
    before = {file: file.read_bytes() for file in Path().glob("*.jsonl")}
    assert run(["eval", "runs/a", *words]) in (1, 2)
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err
    assert not Path("runs/a/evaluations.jsonl").exists() and before == {file: file.read_bytes() for file in before}


def test_shots_that_are_named_are_those_of_every_task() -> None:
    asked = [Task("one", "mine.jsonl", shots=1), "mine.jsonl"]
    found = pylm.evaluate("runs/a", tasks=asked, shots=2, limit=3).tasks
    assert [result.settings["shots"] for result in found] == [2, 2] and found[0].items == found[1].items
    assert pylm.evaluate("runs/a", tasks=asked, limit=3).tasks[0].settings["shots"] == 1


def test_the_harness_is_asked_for_what_the_options_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pylm.evaluation import harness

    asked: list[Any] = []

    class Stub:
        def __init__(self, tasks: Any, include_path: Any) -> None:
            asked.append((list(tasks), include_path))

        def run(self, scorer: Scorer, **options: Any) -> Any:
            asked.append(options)
            return run_tasks(scorer, [Task("theirs", "mine.jsonl")], limit=4)

    monkeypatch.setattr(harness, "prepare_harness", Stub)
    words = ["--harness", "a,b", "--shots", "3", "--limit", "4", "--include-path", ".", "--prefix", "none"]
    assert run(["eval", "runs/a", *words]) == 0
    assert asked == [(["a", "b"], "."), {"shots": 3, "limit": 4, "prefix": "none"}]
    assert capsys.readouterr().out.splitlines()[1].startswith("theirs")
    assert {line["task"] for line in kept("a")} == {"theirs"}


def test_the_python_words_are_pythons() -> None:
    with pytest.raises(UsageError, match=r"shots= is for tasks that are named"):
        pylm.evaluate("runs/a", suite="suite.yaml", shots=3)


def test_texts_are_measured_and_found_in_the_training_shards(capsys: pytest.CaptureFixture[str]) -> None:
    from pylm.evaluation.texts import distinct, repetition
    from pylm.generation.load import open_model
    from pylm.generation.session import Session
    from pylm.generation.settings import sample_settings

    assert run(["eval", "runs/a", "--texts", "3", "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    assert "3 texts of" in out and "novelty" not in out and "novelty is not known" in err
    opened = open_model("runs/a", threads=1)
    assert opened.tokenizer is not None
    session = Session(opened.engine, opened.tokenizer, ends=opened.ends)
    made: list[list[int]] = [[], [], []]
    for piece in session.stream([""], sample_settings({"temperature": 1.0, "max_tokens": 128, "seed": 0, "n": 3})):
        made[piece.sample].append(piece.id)
    found = pylm.evaluate("runs/a", texts=3, threads=1)
    assert found.texts is not None and found.texts.tokens == sum(map(len, made)) and not found.tasks
    assert found.texts.metrics["distinct_2"] == distinct(made, 2)
    assert found.texts.metrics["repetition"] == repetition(made)
    assert {line["metric"] for line in kept("a") if line["task"] == "texts"} == set(found.texts.metrics)


def test_what_stands_in_the_training_shards_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    from pylm.evaluation import written

    text, tokenizer = "the cat sat on the mat", small_tokenizer()
    Path("train.jsonl").write_text("".join(json.dumps({"text": f"{text} {n}"}) + "\n" for n in range(60)))
    pylm.prepare("train.jsonl", out="ids", tokenizer=tokenizer)
    shape = {"n_layers": 1, "n_heads": 2, "d_model": 16, "context_length": 32}
    pylm.train(data={"path": "ids"}, model=shape, out="runs/own", max_steps=1, device="cpu", precision="fp32")
    random = pylm.evaluate("runs/own", texts=2, threads=1).texts
    assert random is not None and random.metrics["novelty"] == 1 and random.metrics["longest_copied"] == 0
    own = tokenizer.encode(text)
    monkeypatch.setattr(written, "_ids_and_texts", lambda *_: ([own + own[:4], own[1:3]], ["", ""]))
    copied = pylm.evaluate("runs/own", texts=2, threads=1).texts
    assert copied is not None and copied.metrics["longest_copied"] == len(own)
    assert copied.metrics["novelty"] == pytest.approx(6 / (len(own) + 6))


def test_a_file_is_asked_as_the_options_say(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"question": item["query"], "options": item["choices"], "right": item["gold"]} for item in made("choice", 9)
    ]
    Path("other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--template", r"Q: {{ question }}\nA:", "--choices", "options", "--answer", "right", "--shots", "1"]
    words += [
        "--delimiter",
        r"\n",
        "--separator",
        "##",
        "--before",
        "* ",
        "--baseline",
        "0.25",
        "--primary",
        "acc_token",
    ]
    assert run(["eval", "runs/a", "--tasks", "other.jsonl", *words, "--json"]) == 0
    [told] = json.loads(capsys.readouterr().out)["evaluations"]
    task = Task("x", "other.jsonl", 1, "\n", "##", "* ", "Q: {{ question }}\nA:", choices="options", answer="right")
    [of] = run_tasks(Scorer.open("runs/a"), [replace(task, baseline=0.25, primary="acc_token")])
    [result] = told["tasks"]
    assert (result["metrics"], result["centred"], result["primary"]) == (of.metrics, of.centred, "acc_token")
    assert result["settings"]["template"] == "Q: {{ question }}\nA:"
    assert run(["eval", "runs/a", "--tasks", "other.jsonl", "--prompt", "question", *words[2:6]]) == 0


def test_a_fingerprint_does_not_depend_on_how_a_name_was_typed() -> None:
    (Path("data") / "tasks").mkdir(parents=True)
    written(Path("data/tasks/mine.jsonl"), made("choice", 40))
    typed = ["mine", "mine.jsonl", "./mine.jsonl", "data:mine", str(Path("mine.jsonl").resolve())]
    results = run_tasks(Scorer.open("runs/a"), typed, limit=3)
    assert len({result.fingerprint for result in results}) == 1 and [result.task for result in results] == typed
    other = run_tasks(Scorer.open("runs/a"), ["mine", Task("mine", "mine", shots=1), "text.jsonl"], limit=3)
    assert len({result.fingerprint for result in (*results, *other)}) == 3


def test_examples_are_parted_alike_for_all_who_read_a_suite() -> None:
    from pylm.data.tasks import suite
    from pylm.evaluation.suites import load

    told = "{label: a, dataset_uri: mine.jsonl, icl_task_type: multiple_choice, num_fewshot: [1]}"
    Path("core.yaml").write_text(f"icl_tasks: [{told}]")
    [one], [other] = suite("core.yaml"), load("core.yaml").tasks
    assert (one.example_delimiter, one.continuation_delimiter) == (other.separator, other.delimiter) == ("\n\n", " ")


@pytest.mark.parametrize("words", [["--harness", "no_such"], ["--suite", "gone.yaml"], ["--tasks", "broken.jsonl"]])
def test_what_lacks_is_said_before_anything_is_scored(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = SimpleNamespace(match_tasks=lambda names: [], all_tasks=["no_such_task"])
    parts = {"lm_eval": SimpleNamespace(), "lm_eval.tasks": SimpleNamespace(TaskManager=lambda include_path: manager)}
    for name, part in parts.items():
        monkeypatch.setitem(sys.modules, name, part)
    Path("gone.yaml").write_text("tasks: [{name: gone, file: nowhere}]")
    Path("broken.jsonl").write_text("{")
    monkeypatch.setattr(Scorer, "score_ids", lambda *given, **named: pytest.fail("something was scored"))
    monkeypatch.setattr("pylm.evaluation.evaluate.read", lambda *given: pytest.fail("something was read"))
    Path("val.jsonl").write_text('{"text": "the cat"}\n')
    asked = ["eval", "runs/a", "--data", "val.jsonl", *(["--tasks", "mine.jsonl"] if "--tasks" not in words else [])]
    assert run([*asked, *words]) in (1, 2)
    err = capsys.readouterr().err
    assert {"--harness": "has no task no_such", "--suite": "none of the 1", "--tasks": "no JSON"}[words[0]] in err


def test_different_data_is_said_below_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """A model whose context is shorter reads other windows: its losses are no pairs, its answers are."""
    tokenizer = small_tokenizer()
    write_run(Path("runs/c"), small_model(tokenizer.vocab_size, 3, context_length=32), tokenizer)
    ids = [token for _ in range(60) for token in tokenizer.encode("the cat sat on the mat and")]
    Path("shards").mkdir()
    np.array(ids, np.uint16).tofile("shards/val_00000.bin")
    words = ["eval", "runs/a", "runs/c", "--data", "shards", "--tasks", "mine.jsonl", "--limit", "2"]
    assert run(words) == 0
    out = capsys.readouterr().out
    names = "runs/c/checkpoints/step_5 against runs/a/checkpoints/step_5"
    assert f"{names}: losses are not compared: " in out and "in different windows, which are no pairs" in out
    assert f"{names}: mine.jsonl acc_norm" in out
    assert out.splitlines()[0].startswith("checkpoint") and len({"a", "c"} & set(out.split("step_5")[0])) > 0
    assert run([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "no pairs" in told["not_compared"][0] and told["compared"][0][0]["task"] == "mine.jsonl"


def test_an_average_is_kept_with_its_run() -> None:
    checkpoint = Path("runs/a/checkpoints/step_5")
    shutil.copytree(checkpoint, checkpoint / "average")
    pylm.evaluate("runs/a/average", tasks="mine.jsonl", limit=3)
    pylm.evaluate("runs/a", tasks="mine.jsonl", limit=3)
    assert {line["checkpoint"] for line in kept("a")} == {"step_5/average", "step_5"}
    assert not (checkpoint / "evaluations.jsonl").exists() and not Path("runs/a/checkpoints/evaluations.jsonl").exists()
