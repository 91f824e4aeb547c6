"""The harness's questions answered by our scorer: always by hand, and through the harness itself where it is here."""

from __future__ import annotations

import importlib.util
import json
import math
import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pylm.errors import DataError, UsageError
from pylm.evaluation.harness import Answers, run_harness
from pylm.evaluation.scoring import Scorer
from pylm.evaluation.tasks import Task, run
from pylm.model.torch import Model
from pylm.tokenizer import Tokenizer
from tests.evaluation.scoring.plain_core import shuffled
from tests.evaluation.scoring.test_tasks import made, written
from tests.generation.small import CONTEXT, small_model, small_tokenizer
from tests.generation.test_engines import engine_of

HERE = importlib.util.find_spec("lm_eval") is not None


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Model:
    return small_model(tokenizer.vocab_size)


@pytest.fixture(scope="module")
def scorer(model: Model, tokenizer: Tokenizer) -> Scorer:
    return Scorer(engine_of("native", model), tokenizer)


def asked(*arguments: Any) -> Any:
    return [SimpleNamespace(args=one) for one in arguments]


def rolling_windows(ids: list[int], prefix: int, most: int) -> list[tuple[list[int], list[int]]]:
    """lm_eval.utils.get_rolling_token_windows with a context of 1, and make_disjoint_window, once more."""
    done = min(most, len(ids))
    windows = [([prefix, *ids[: done - 1]], ids[:done])]
    while done < len(ids):
        new = min(len(ids) - done, most)
        end = done + new
        windows.append((ids[end - most - 1 : end - 1], ids[end - new : end]))
        done = end
    return [(before[: len(before) - (len(after) - 1)], after) for before, after in windows]


def test_rolling_is_what_the_harness_means_by_it(scorer: Scorer, model: Model, tokenizer: Tokenizer) -> None:
    texts = [" ".join(random.Random(n).choices(["the", "cat", "on", "mat"], k=n)) for n in (1, 15, 60, 47)]
    found = Answers(scorer).loglikelihood_rolling(asked(*[(text,) for text in texts]))
    for text, value in zip(texts, found, strict=True):
        total = 0.0
        eot = tokenizer.eot
        assert eot is not None
        for before, after in rolling_windows(tokenizer.encode(text), eot, CONTEXT):
            read = (before + after)[:-1]
            assert len(read) <= CONTEXT
            with torch.inference_mode():
                logprobs = torch.log_softmax(model(torch.tensor([read]))[0].double(), -1)[-len(after) :]
            total += sum(logprobs[place, token].item() for place, token in enumerate(after))
        assert value == pytest.approx(total, rel=1e-6)


def test_a_likelihood_is_minus_the_nats(scorer: Scorer) -> None:
    pairs = [("the cat", " sat"), ("", "on")]
    assert Answers(scorer, "none").loglikelihood(asked(*pairs)) == [
        (-score.nats, score.is_greedy) for score in scorer.score(pairs, prefix="none")
    ]


def test_what_is_written_ends_where_the_task_says(scorer: Scorer) -> None:
    answers = Answers(scorer)
    [whole] = answers.generate_until(asked(("the cat", {"until": [], "max_gen_toks": 12})))
    long = ("the cat " * 40, {"until": "\n\n", "max_gen_toks": 12, "do_sample": False})
    [again] = answers.generate_until(asked(long))
    assert whole and again
    [cut] = answers.generate_until(asked(("the cat", {"until": [whole[3]], "max_gen_toks": 12})))
    assert cut == whole[: whole.index(whole[3])]


@pytest.mark.skipif(HERE, reason="lm_eval is installed")
def test_without_the_harness_it_says_how_to_get_it(scorer: Scorer) -> None:
    with pytest.raises(UsageError, match="the harness is not installed") as caught:
        run_harness(scorer, ["arc_easy"])
    assert caught.value.hint == "pip install './[eval]'"


def test_a_folder_that_is_not_there_is_said(scorer: Scorer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        run_harness(scorer, ["arc_easy"], include_path=tmp_path / "none")


def test_what_our_scorer_refuses_is_not_said_of_the_data(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    def simple_evaluate(model: Any, **options: Any) -> None:
        model.loglikelihood(asked(("the cat", "")))

    manager = SimpleNamespace(match_tasks=list, all_tasks=[])
    parts = {
        "lm_eval": SimpleNamespace(simple_evaluate=simple_evaluate),
        "lm_eval.api": SimpleNamespace(),
        "lm_eval.api.model": SimpleNamespace(LM=object),
        "lm_eval.tasks": SimpleNamespace(TaskManager=lambda include_path: manager),
    }
    for name, part in parts.items():
        monkeypatch.setitem(sys.modules, name, part)
    with pytest.raises(DataError, match="the continuation of pair 0 is empty"):
        run_harness(scorer, ["a task"])


TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{validation: {file}}}}}
validation_split: validation
output_type: multiple_choice
doc_to_text: "{{{{query}}}}"
doc_to_choice: choices
doc_to_target: gold
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""


@pytest.mark.skipif(not HERE, reason="lm_eval is not installed: make peers-after")
def test_through_the_harness_and_without_it_the_numbers_are_one(scorer: Scorer, tmp_path: Path) -> None:
    items = [
        {"prompt": item["query"].strip(), "query": item["query"].strip(), "answer": item["gold"], **item}
        for item in made("choice", 25)
    ]
    for item in items:
        item["query"] = item["prompt"]
    file = written(tmp_path / "items.json", items)
    (tmp_path / "ours_25.yaml").write_text(TASK.format(name="ours_25", file=file))
    [theirs] = run_harness(scorer, ["ours_25"], include_path=tmp_path)
    lines = tmp_path / "items.jsonl"
    lines.write_text("".join(json.dumps(item) + "\n" for item in items))
    [ours] = run(scorer, [Task("ours", str(lines))])
    assert theirs.n == ours.n == 25
    order = shuffled(range(25))  # ours; the harness keeps the file's
    for metric in ("acc", "acc_norm"):
        assert [theirs.items[metric][number] for number in order] == ours.items[metric]
        assert theirs.metrics[metric] == pytest.approx(ours.metrics[metric], abs=1e-6)
        assert math.isfinite(theirs.stderr[metric])
    with pytest.raises(UsageError, match="the harness has no task ours_26"):
        run_harness(scorer, ["ours_26"], include_path=tmp_path)
