"""What a terminal is given: sentences broken between words, commands whole, no control characters."""

from __future__ import annotations

import io
import os
import shutil

import pytest

from pylm.runs import View
from pylm.runs.terminal import printable, wrapped

EVALUATION = "step 1,200: validation loss 5.6912, perplexity 296.25, accuracy 12.3 %, 2.1 bits a byte, the best so far"
COMMAND = "pylm train --resume auto --out runs/my-run-20250101-000000 --max-time null --max-steps 400"


@pytest.fixture(params=[40, 80])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((request.param, 20)))
    return int(request.param)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_a_run_remarks_breaks_between_words(columns: int) -> None:
    stream = Terminal()
    View(10, stream=stream).remark(EVALUATION)
    lines = stream.getvalue().splitlines()
    assert len(lines) > 1 and max(map(len, lines)) <= columns and " ".join(lines) == EVALUATION
    plain = io.StringIO()
    View(10, stream=plain).remark(EVALUATION + "\x0e")
    assert plain.getvalue() == EVALUATION + "\x0e\n"


def test_a_command_is_never_broken(columns: int) -> None:
    said = f"its steps took longer than planned, so there are others left to take: {COMMAND}"
    for text in (said, COMMAND, f"trained 400 steps\n{COMMAND}"):
        assert wrapped(text).splitlines()[-1] == COMMAND
        assert wrapped(text).replace("\n", " ") == text.replace("\n", " ")
    aside = "a sentence of some words `pylm tokenize my.txt --force` and some more of them after it, to the end"
    assert "`pylm tokenize my.txt --force`" in wrapped(aside) and max(map(len, wrapped(aside).splitlines())) <= columns


def test_control_characters_are_spelled() -> None:
    assert printable("a\x0eb\x1b[2J\x9b\x7f\r\n\tü漢") == "a\\x0eb\\x1b[2J\\x9b\\x7f\\x0d\n\tü漢"


def test_a_sample_shown_by_a_run_does_not_steer_the_terminal() -> None:
    stream = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm")
        View(10, stream=stream).remark("step 1 from nothing: a\x0eb\x1b[2J")
    assert stream.getvalue() == "step 1 from nothing: a\\x0eb\\x1b[2J\n"
