"""Suites: ours, core.yaml as it is, what lacks is named, and what a suite may not say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pylm.errors import ConfigError, UsageError
from pylm.evaluation.scoring import Scorer
from pylm.evaluation.suites import SUITES, load, run_suite
from tests.evaluation.scoring.test_tasks import made, written
from tests.generation.small import small_model, small_tokenizer
from tests.generation.test_engines import engine_of

CORE = """
tokenizer: {{model_max_length: 2048}}
icl_tasks:
-
  label: arc_easy
  dataset_uri: local_data/world_knowledge/arc_easy.jsonl
  num_fewshot: [2]
  icl_task_type: multiple_choice
  continuation_delimiter: "\\nAnswer: " # this separates questions from answers
-
  label: lambada_openai
  dataset_uri: {lambada}
  num_fewshot: [0]
  icl_task_type: language_modeling
-
  label: triviaqa_sm_sub
  dataset_uri: local_data/world_knowledge/triviaqa_sm_sub.jsonl
  num_fewshot: [3]
  icl_task_type: generation_task_with_answers
-
  label: winograd
  dataset_uri: local_data/language_understanding/winograd_wsc.jsonl
  num_fewshot: [0]
  icl_task_type: schema
"""


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    tokenizer = small_tokenizer()
    return Scorer(engine_of("native", small_model(tokenizer.vocab_size, context_length=1024)), tokenizer)


def test_our_suites_say_what_they_mean() -> None:
    core = load("core")
    assert len(core.tasks) == 22 and core.score == "CORE"
    of = {task.name: task for task in core.tasks}
    assert (of["arc_easy"].shots, of["arc_easy"].delimiter, of["arc_easy"].baseline) == (10, "\nAnswer: ", 0.25)
    assert (of["boolq"].baseline, of["jeopardy"].baseline) == (0.62, 0)
    assert of["commonsense_qa"].baseline == pytest.approx(0.403)
    assert (of["hellaswag"].shots, of["hellaswag"].docs, of["hellaswag_zeroshot"].shots) == (10, True, 0)
    assert {of[name].primary for name in ("winograd", "piqa")} == {"acc_core"} and of["squad"].primary == "acc"
    assert of["piqa"].file == "data:piqa"
    for name in SUITES:
        assert all(task.name and task.file for task in load(name).tasks)


def test_core_yaml_is_read_as_it_is_and_what_lacks_is_named(tmp_path: Path, scorer: Scorer) -> None:
    (tmp_path / "world_knowledge").mkdir()
    written(tmp_path / "arc_easy.jsonl.gz", made("choice", 20))
    lambada = written(tmp_path / "lambada.jsonl", made("text", 10))
    (tmp_path / "core.yaml").write_text(CORE.format(lambada=lambada))
    suite = load(str(tmp_path / "core.yaml"))
    assert suite.left_out == ("triviaqa_sm_sub",)
    found = run_suite(scorer, suite, folders=[])
    assert [result.task for result in found.results] == ["arc_easy", "lambada_openai"]
    assert found.missing["triviaqa_sm_sub"] == "it answers by writing, which is not scored"
    assert "there is no test local_data/language_understanding/winograd_wsc.jsonl" in found.missing["winograd"]
    easy, text = found.results
    assert easy.centred == pytest.approx((easy.metrics["acc_core"] - 0.25) / 0.75)
    assert found.score == ("CORE-2", pytest.approx((easy.centred + text.metrics["acc"]) / 2))
    assert easy.settings["shots"] == 2 and len(easy.settings["sha256"]) == 64
    assert json.loads(json.dumps(easy.as_dict()))["metrics"] == easy.metrics
    assert {record["metric"] for record in easy.records()} == set(easy.metrics)


def test_where_nobody_knows_what_chance_is_right_at_nothing_is_centred(tmp_path: Path, scorer: Scorer) -> None:
    for name, kind in (("arc_easy", "choice"), ("mine", "choice"), ("free", "text")):
        written(tmp_path / f"{name}.jsonl", made(kind, 20))
    form = "  - {{label: {0}, dataset_uri: {0}.jsonl, icl_task_type: {1}, question_prelimiter: 'Q: '}}\n"
    kinds = {"arc_easy": "multiple_choice", "mine": "multiple_choice", "free": "language_modeling"}
    (tmp_path / "some.yaml").write_text("icl_tasks:\n" + "".join(form.format(*each) for each in kinds.items()))
    suite = load(str(tmp_path / "some.yaml"))
    assert [(task.baseline, task.before) for task in suite.tasks] == [(0.25, "Q: "), (None, "Q: "), (0.0, "Q: ")]
    found = run_suite(scorer, suite, folders=[])
    easy, mine, free = found.results
    assert mine.centred is None and mine.n == 20
    assert found.score == ("CORE-2", pytest.approx((easy.centred + free.centred) / 2))
    assert "no part of the score" in found.missing["mine"] and len(found.missing) == 1


def test_a_suite_of_nothing_says_where_it_looked(tmp_path: Path, scorer: Scorer) -> None:
    (tmp_path / "mine.yaml").write_text("tasks: [{name: mine, file: nowhere}]")
    with pytest.raises(UsageError, match="none of the 1 tasks of mine is here: there is no test nowhere"):
        run_suite(scorer, load(str(tmp_path / "mine.yaml")), folders=[tmp_path])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tasks: []", "names no tasks"),
        ("model: x", "names no tasks"),
        ("tasks: [{name: a}]", "a task has no file"),
        ("tasks: [{name: a, file: b, shot: 1}]", "a task has no key shot"),
        ("tasks: [{name: a, file: b, shots: two}]", "shots is 'two'"),
        ("tasks: [{name: a, file: b, baseline: 100}]", "baseline is '100'"),
        ("tasks: [{name: a, file: b, docs: !!python/name:os.system x}]", "has no meaning here"),
        ("icl_tasks: [{label: a}]", "an icl_task has a label and a dataset_uri"),
        (
            "icl_tasks: [{label: a, dataset_uri: b, icl_task_type: schema, num_fewshot: [0, 5]}]",
            "num_fewshot of a is no list of one number",
        ),
    ],
)
def test_a_suite_that_says_something_else_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load(str(tmp_path / "suite.yaml"))


def test_a_mistyped_suite_has_a_neighbour() -> None:
    with pytest.raises(UsageError, match="there is no suite cort") as caught:
        load("cort")
    assert caught.value.hint == "did you mean core?"
