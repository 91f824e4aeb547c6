"""Examples that a run held out, and the same ones from their file: one number, whichever way they are read."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

import pylm
from pylm.checkpoint import find
from pylm.cli import run as command
from pylm.errors import DataError
from pylm.finetuning.judge import Judged, judge, judge_once
from tests.finetuning.conftest import SETTINGS, WORDS, conversations, write_rows

SHORT: Any = {"max_steps": 6, "sample_every": None, "save_every": None, **SETTINGS}


def labelled(count: int, seed: int) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    return [
        {"text": " ".join(chance.sample(WORDS, 3)), "label": chance.choice(("no", "up", "no up"))} for _ in range(count)
    ]


def same(one: Judged, other: Judged) -> None:
    assert (one.tokens, one.n, one.exact_match, one.ended) == (other.tokens, other.n, other.exact_match, other.ended)
    assert (one.accuracy, one.macro_f1) == (other.accuracy, other.macro_f1)
    assert one.loss == pytest.approx(other.loss, rel=1e-6)


@pytest.mark.parametrize("template", [None, "chatml"])
def test_labels_are_judged_alike_from_the_run_and_from_their_file(
    here: Path, template: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"runs/labels-{template}"
    shutil.rmtree(out, ignore_errors=True)
    write_rows("labels.jsonl", labelled(60, 1))
    write_rows("held-labels.jsonl", labelled(20, 2))
    told: list[Any] = []
    pylm.finetune("runs/base", dataset="labels.jsonl", val_dataset="held-labels.jsonl", template=template, out=out,
                  on_event=told.append, **SHORT)  # fmt: skip
    (judged,) = (event for event in told if isinstance(event, Judged))
    assert judged.n == 20 and judged.accuracy is not None and "20 labels" in judged.text
    same(judge(out, "held-labels.jsonl"), judged)
    capsys.readouterr()
    assert command(["eval", out]) == 0
    printed = capsys.readouterr().out
    assert "macro_f1" in printed and "no up" in printed and "exact_match" in printed
    assert command(["eval", out, "--json"]) == 0
    tasks = json.loads(capsys.readouterr().out)["evaluations"][0]["tasks"]
    assert sum(map(sum, tasks[0]["confusion"]["counts"])) == 20 and tasks[0]["metrics"]["acc"] == judged.accuracy
    # labels that were not learned, and a part of those that were
    write_rows("few.jsonl", [row for row in labelled(20, 2) if row["label"] == "up"])
    found = pylm.evaluate(out, examples="few.jsonl")
    assert found.tasks[0].confusion is not None and len(found.tasks[0].confusion["labels"]) == 3
    write_rows("others.jsonl", [{"text": "red cat", "label": "perhaps"}])
    with pytest.raises(DataError, match="the label 'perhaps', and those that were learned are"):
        judge(out, "others.jsonl")


def test_chats_are_judged_alike_and_once(here: Path) -> None:
    shutil.rmtree("runs/chats", ignore_errors=True)
    write_rows("held-chats.jsonl", conversations(15, seed=9))
    run = pylm.finetune("runs/base", dataset="chat.jsonl", val_dataset="held-chats.jsonl", out="runs/chats",
                        on_event=lambda event: None, **SHORT)  # fmt: skip
    kept = Path("runs/chats/evaluations.jsonl").read_bytes()
    assert judge_once(run.path, lambda event: None) is None
    assert Path("runs/chats/evaluations.jsonl").read_bytes() == kept
    Path("runs/chats/evaluations.jsonl").unlink()
    again = judge_once(run.path, lambda event: None)
    assert again is not None and again.n == 15 and again.accuracy is None
    same(judge("runs/chats", "held-chats.jsonl"), again)
    assert run.val_loss == pytest.approx(again.loss, rel=1e-5)  # what training says of the same targets


def test_texts_longer_than_the_context_have_a_loss_and_ask_nothing(here: Path) -> None:
    shutil.rmtree("runs/texts", ignore_errors=True)
    write_rows("texts.jsonl", [{"text": " ".join(WORDS * (number % 5 + 1))} for number in range(12)])
    write_rows("held-texts.jsonl", [{"text": " ".join(WORDS[::-1] * 9)}])
    pylm.finetune("runs/base", dataset="texts.jsonl", val_dataset="held-texts.jsonl", out="runs/texts",
                  on_event=lambda event: None, **SHORT)  # fmt: skip
    found = judge("runs/texts")
    tokens = len(pylm.Tokenizer.load(find("runs/texts")).encode(" ".join(WORDS[::-1] * 9)))
    assert found.n == 0 and found.exact_match is None and found.tokens == tokens > 64
    same(judge("runs/texts", "held-texts.jsonl"), found)
