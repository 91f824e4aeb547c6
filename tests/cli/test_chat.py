"""`pylm chat`: what was typed wins over a saved conversation; what it answers to what it does not know."""

# ruff: noqa: F811 - fixtures are found by their names
from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from pylm.cli.frame.console import Console
from pylm.cli.frame.talk import Talk
from pylm.cli.frame.writing import Output, write_samples
from pylm.config.schema import Sample
from pylm.errors import DataError, UsageError
from pylm.generation import Piece
from pylm.tokenizer import Tokenizer
from tests.cli.test_sample import Given, chat, elsewhere, pylm_, talker  # noqa: F401
from tests.generation.small import small_tokenizer


def test_what_was_typed_wins_over_the_session_and_is_said(pylm_: Given, talker: Path) -> None:
    chat(pylm_, "--session", "t.json", "--temperature", 0.9, "--top-k", 7, "--system", "First.", stdin="Hi\n")
    Path("pylm.yaml").write_text("sample:\n  top_k: 3\n")  # lies in the folder, was not typed
    _, err = chat(pylm_, "--session", "t.json", stdin="/show\n")
    assert "max_tokens 12, seed 3" in err and "temperature 0.9" in err and "top_k 7" in err
    _, err = chat(pylm_, "--session", "t.json", "--temperature", 0.2, "--system", "Second.", stdin="/show\nAnd?\n")
    said = (
        "system text and settings are the file's, but as typed: temperature 0.2, max_tokens 12, seed 3, the system text"
    )
    assert said in err and "temperature 0.2, top_k 7" in err
    kept = json.loads(Path("t.json").read_text())
    assert kept["settings"]["temperature"] == 0.2 and kept["settings"]["top_k"] == 7
    assert [part["role"] for part in kept["messages"]] == ["system", *["user", "assistant"] * 2]
    assert kept["messages"][0]["content"] == "Second."
    chat(pylm_, "--session", "t.json", "--preset", "greedy", "--system", "", stdin="And?\n")
    kept = json.loads(Path("t.json").read_text())
    assert kept["settings"]["temperature"] == 0 and kept["messages"][0]["role"] == "user"


@pytest.mark.parametrize("command", ["sample", "chat"])
def test_a_checkpoint_by_the_name_of_other_programs(pylm_: Given, command: str) -> None:
    for name in ("--model", "--checkpoint-path"):
        _, err = pylm_(command, name, "x y", code=2)
        assert "hint: it is --checkpoint here" in err and err.endswith(": --checkpoint 'x y'\n") and "--init" not in err
    assert "--init-from" in pylm_("train", "--model", "x", code=2)[1]


def test_settings_by_the_names_of_other_programs(pylm_: Given, talker: Path) -> None:
    _, err = chat(pylm_, stdin="/set temp 0.3\n/set max_new_tokens\n/set do_sample false\n/set temprature 1\n")
    assert "there is no setting temp (it is temperature here: /set temperature 0.3)" in err
    assert "(it is max_tokens here)" in err and "it is temperature here (0 takes the likeliest token)" in err
    assert "did you mean temperature?" in err


def test_an_answer_that_failed_is_a_failure_where_nobody_sits_before_it(
    pylm_: Given, talker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("fails.jinja").write_text("{{ raise_exception('no turns') }}")
    out, err = chat(pylm_, "--template", "fails.jinja", stdin="hi\n/show\n", code=1)
    assert out == "" and "no turns" in err and "temperature" in err and "error:" not in err
    chat(pylm_, stdin="/hlp\nhi\n")  # a command that is none left no answer out
    console = Console(Sample(), refused)
    for stdin, leaves in (
        (io.StringIO("hi\n"), pytest.raises(click.exceptions.Exit)),
        (Terminal("hi\n"), nullcontext()),
    ):
        monkeypatch.setattr(sys, "stdin", stdin)
        with leaves:
            console.run()
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="stdin is closed"):
        console.run()


def refused(_line: str) -> None:
    raise DataError("no")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Odd:
    """A model whose text would steer a terminal."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.name = tokenizer, "odd"
        self.engine = SimpleNamespace(name="odd", context_length=1000)

    def stream(self, *_: Any, **__: Any) -> Iterator[Piece]:
        yield Piece(1, "a\x0e\x1b[2Jb\t", 0.0)
        yield Piece(1, "ü\x9b\n", 0.0, finish="length")


@pytest.mark.parametrize("terminal", [True, False])
def test_what_a_model_writes_does_not_steer_a_terminal(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    odd: Any = Odd(small_tokenizer())
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    made = "a\\x0e\\x1b[2Jb\tü\\x9b\n" if terminal else "a\x0e\x1b[2Jb\tü\x9b\n"
    write_samples(odd, ["p\x0f"], Sample(), Output(None, False, False, False, False))
    prompt = "\x1b[2mp\\x0f\x1b[0m" if terminal else ""
    assert stream.getvalue() == prompt + made + "\n"
    stream.seek(0)
    stream.truncate()
    monkeypatch.setattr(Talk, "_ids", lambda self: [1])
    talk = Talk(odd, Sample(), None)
    talk.answer("hi")
    assert stream.getvalue() == made + "\n" and "\x0e" in talk.conversation.messages[-1]["content"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "it is no JSON: "),
        ("[]", "it must be an object with version, settings and messages"),
        ('{"version": 1, "settings": {}, "messages": {}}', "its messages must be a list of objects, each with a role"),
        ('{"version": 1, "settings": {}, "messages": [{"role": "user"}]}', "its messages must be a list of objects"),
        ('{"version": 1, "settings": {}, "messages": [[]]}', "its messages must be a list of objects"),
        ('{"version": 2, "settings": {}, "messages": []}', "it is of version 2"),
        ('{"version": 1, "settings": {"temperature": "x"}, "messages": []}', "its settings: temperature: "),
        ('{"version": 1, "settings": 3, "messages": []}', "its settings: "),
    ],
)
def test_a_file_that_is_no_conversation_is_told_what_one_holds(
    pylm_: Given, talker: Path, content: str, said: str
) -> None:
    Path("bad.json").write_text(content)
    _, err = chat(pylm_, "--session", "bad.json", stdin="", code=1)
    assert f"error: bad.json is no conversation of pylm chat: {said}" in err and "validation error" not in err
