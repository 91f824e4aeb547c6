"""`pylm.prepare` is `pylm tokenize`: the same options as keywords, the same bytes, and errors with a hint."""

from __future__ import annotations

import inspect
import json
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

import pylm
from pylm.cli import run
from pylm.cli.tokenize import tokenize
from pylm.data.for_training import prepare_for_training
from pylm.errors import DataError, PylmError, UsageError
from pylm.wording import OPTIONS, in_options

TEXT = "<|endoftext|>".join(f"document {number} says {number * 7 % 31} and no more" for number in range(200))


@pytest.fixture(autouse=True)
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(TEXT)
    Path("b.jsonl").write_text('{"body": "one more document, that is a line"}\n' * 20)


def test_every_option_of_the_command_is_a_keyword_and_the_other_way_round() -> None:
    options = {
        name.removeprefix("--").replace("-", "_")
        for param in tokenize.params
        if isinstance(param, click.Option)
        for name in param.opts
    } - {"json", "debug", "config"}  # how it is said, and a file that says others of them
    keywords = set(inspect.signature(pylm.prepare).parameters) - {"sources", "progress", "say"}
    assert {OPTIONS.get(name, name) for name in keywords} == options


def test_shards_are_those_of_the_command_to_the_byte() -> None:
    said: list[str] = []
    prepared = pylm.prepare(["a.txt", "b.jsonl"], "ours", vocab_size=300, field="body", val=0.1, say=said.append)
    assert run(["tokenize", "a.txt", "b.jsonl", "--out", "theirs", "--vocab-size", "300", "--field", "body",
                "--val", "0.1"]) == 0  # fmt: skip
    names = {path.name for path in Path("theirs").iterdir() if path.is_file()}
    assert names == {path.name for path in Path("ours").iterdir() if path.is_file()} and "manifest.json" in names
    for name in names:
        assert Path("ours", name).read_bytes() == Path("theirs", name).read_bytes(), name
    assert prepared.folder == Path("ours") and prepared.trained and not said
    again = pylm.prepare(["a.txt", "b.jsonl"], "ours", vocab_size=300, field="body", val=0.1)
    assert again.found and not again.trained


def test_one_source_may_stand_alone_and_a_dry_run_writes_nothing() -> None:
    plan = pylm.prepare(Path("a.txt"), vocab_size=300, dry_run=True).plan
    assert plan["source_bytes"] == len(TEXT) and not Path("data").exists()


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"shard_tokens": "100M"}, "shard_tokens is '100M'", "give a whole number, such as 2_000_000_000"),
        ({"threads": True}, "threads is True", "give a whole number, such as 2_000_000_000"),
        ({"val": "much"}, "val is 'much'", "give a number from 0 (none) to 0.9"),
        ({"format": "lmc"}, "there is no format lmc", "did you mean llmc?"),
        ({"vocab_size": 100}, "a vocabulary of 100 cannot hold", "vocab_size=257 is the least"),
        ({"limit": "5cats"}, "5cats", ""),
        ({"allow_special": ["<x>"]}, "'<x>' is no special token", "its special tokens: <|endoftext|>"),
    ],
)  # fmt: skip
def test_bad_input_is_a_sentence_and_a_hint(options: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(PylmError) as caught:
        pylm.prepare("a.txt", "out", **{"vocab_size": 300, **options})
    assert message in caught.value.message and hint in (caught.value.hint or "") and caught.value.hint
    assert not Path("out/manifest.json").exists()


def test_one_special_token_need_not_stand_in_a_list() -> None:
    pylm.prepare("a.txt", "one", vocab_size=300, specials="<|end|>", allow_special="<|end|>")
    assert list(pylm.Tokenizer.load("one").specials) == ["<|end|>"]


def test_no_source_is_no_text() -> None:
    with pytest.raises(UsageError, match="no source was given"):
        pylm.prepare([])


def test_hints_for_whoever_trains_are_whole_lines() -> None:
    with pytest.raises(DataError) as caught:
        prepare_for_training(["b.jsonl"])
    hint = caught.value.marked[1] or ""
    assert in_options(hint) == "pylm tokenize b.jsonl --field body, then pylm train --data data/b"
    assert caught.value.hint == 'pylm.prepare("b.jsonl", field="body"), then pylm.train(data="data/b")'


@pytest.mark.parametrize("field", ["what is said", "it's", "a;b", "größe", "'quoted'"])
def test_a_hint_names_any_field_whole(field: str) -> None:
    Path("c.jsonl").write_text(json.dumps({field: "words"}) + "\n")
    with pytest.raises(DataError) as caught:
        prepare_for_training(["c.jsonl"])
    lines = in_options(caught.value.marked[1] or "")
    assert lines.startswith(f"pylm tokenize c.jsonl --field {shlex.quote(field)}, then"), lines
