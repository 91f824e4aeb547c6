"""A model trained on what only Python holds, and on a mixture that a configuration names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pylm
from pylm.cli import run as command
from pylm.data.streaming import source
from pylm.errors import ConfigError, DataError, UsageError
from tests.support.small_runs import SMALL

ROWS = [{"text": f"{'the cat sat on the mat. ' * (number % 9)}{number}"} for number in range(400)]
SHORT: Any = {"preset": "tiny", "max_steps": 1, "sample_every": None}
MIX = "data:\n  sources: {a.jsonl: 0.75, b.jsonl: 0.25}\n"


@pytest.fixture(autouse=True)
def small(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SMALL, "PYLM_CACHE": str(here / "cache")}.items():
        monkeypatch.setenv(name, value)
    for name, rows in (("a", ROWS[:200]), ("b", ROWS[200:])):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def quiet(event: object) -> None:
    """Hear nothing."""


def test_rows_are_tokenized_and_trained_on() -> None:
    run = pylm.train(ROWS, out="run", vocab_size=280, on_event=quiet, **SHORT)
    assert run.step == 1 and run.config.data.path == "data/text"
    plan = pylm.plan(source("a.jsonl").take(50), probe=False, preset="tiny", max_steps=1)
    assert plan.steps


def test_a_configuration_names_what_is_mixed(capsys: Any) -> None:
    Path("mix.yaml").write_text(MIX)
    run = pylm.train(config="mix.yaml", out="run", vocab_size=280, on_event=quiet, **SHORT)
    assert run.config.data.path == "data/a-b" and run.config.data.sources is None
    pylm.prepare([("a.jsonl", 0.75), ("b.jsonl", 0.25)], "mixed", tokenizer="data/a-b")
    shards = [Path(folder, "train_00000.bin").read_bytes() for folder in ("mixed", "data/a-b")]
    assert shards[0] == shards[1]
    # what is named beside a configuration wins over it, and it goes on where it was
    assert pylm.train("a.jsonl", config="mix.yaml", out="other", on_event=quiet, **SHORT).config.data.path == "data/a"
    again = pylm.train(config="mix.yaml", out="run", resume="auto", on_event=quiet, preset="tiny", max_steps=2)
    assert again.step == 2
    assert pylm.plan(config="mix.yaml", probe=False, preset="tiny", max_steps=1).steps == 1


def test_a_configuration_names_the_tokenizer_and_the_share_of_validation() -> None:
    pylm.prepare("a.jsonl", "own", vocab_size=270)
    Path("mix.yaml").write_text(f"{MIX}  tokenizer: own\n  val_share: 0.2\n")
    run = pylm.train(config="mix.yaml", out="run", on_event=quiet, **SHORT)
    made, own = (json.loads(Path(folder, "manifest.json").read_text()) for folder in ("data/a-b", "own"))
    assert made["tokenizer"] == own["tokenizer"] and made["settings"]["validation"] == 0.2
    assert run.config.data.path == "data/a-b" and run.step == 1
    Path("data/a-b").rename("elsewhere")
    assert pylm.plan(config="mix.yaml", probe=False, preset="tiny", max_steps=1).steps == 1


REFUSED: list[tuple[Callable[[], Any], type[Exception], str, str]] = [
    (lambda: pylm.train("a.jsonl", sources={"b.jsonl": 1}, **SHORT), UsageError,
     "a.jsonl and sources= both say what to train on", "one of the two"),
    (lambda: pylm.train(sources={"b.jsonl": 1}, path="x", **SHORT), ConfigError, "path and sources both say", ""),
    (lambda: pylm.train(sources={"none.jsonl": 1}, **SHORT), DataError, "none.jsonl: no such file", ""),
    (lambda: pylm.train(data="x", tokenizer="gpt2", **SHORT), UsageError, "tokenizer= is for text, and none", "a text"),
    (lambda: pylm.train("a.jsonl", mix_tokens=9, **SHORT), UsageError, "mix_tokens= is of pylm data mix", "leave it"),
    (lambda: pylm.train("tinystoris", **SHORT), DataError, "tinystoris: no such file", "did you mean tinystories"),
]  # fmt: skip


@pytest.mark.parametrize(("called", "kind", "message", "hint"), REFUSED)
def test_what_cannot_be_asked_together(called: Callable[[], Any], kind: Any, message: str, hint: str) -> None:
    with pytest.raises(kind, match=message) as refused:
        called()
    assert hint in (refused.value.hint or "")


def test_the_command_takes_them_by_name(capsys: Any) -> None:
    assert command(["train", "text:the cat sat on the mat", "--preset", "tiny", "--max-steps", "1", "--out", "r"]) == 1
    assert "too little" in capsys.readouterr().err or Path("data/text/manifest.json").exists()
    assert command(["data", "show", "a.jsonl", "--documents", "2", "--document", "3", "--json"]) == 0
    assert [row["text"] for row in json.loads(capsys.readouterr().out)] == [row["text"] for row in ROWS[3:5]]
    assert command(["data", "show", "text:a\udcffb"]) == 0
    assert capsys.readouterr().out == "document 0: 3 characters, 5 bytes\na\\udcffb\n\n"
    assert command(["data", "show", "text:" + "x" * 1000]) == 0
    out = capsys.readouterr().out
    assert "document 0: 1,000 characters, 1,000 bytes" in out and "… and 600 more characters (--json has all)" in out
    for words, said in [
        (["data", "show", "a.jsonl", "--max-tokens", "5"], "--max-tokens is for shards of tokens"),
        (["data", "show", "a.jsonl", "--document", "900"], "a.jsonl has no document 900"),
        (["data", "show", "data/text", "--field", "x"], "--field is for a source of text"),
        (["data", "show", "data/text", "--split", "tset"], "give --split train or --split val"),
        (["tokenize", "a.jsonl", "--store"], "every source is here already"),
    ]:
        assert command(words) == 2, words
        assert said in capsys.readouterr().err
