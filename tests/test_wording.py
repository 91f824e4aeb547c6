"""Parameters in sentences: one text, the words of a Python program and those of the command line."""

from __future__ import annotations

import pickle
import shlex
import warnings

import pytest

from pylm.errors import DataError, PylmWarning, warn
from pylm.wording import call, in_options, in_python, options_marked, param


@pytest.mark.parametrize(
    ("marked", "python", "options"),
    [
        (param("out"), "out=", "--out"),
        (param("max_steps", 100), "max_steps=100", "--max-steps 100"),
        (param("max_time", "+1h"), 'max_time="+1h"', "--max-time +1h"),
        (param("force", True), "force=True", "--force"),
        (param("compile", False), "compile=False", "--no-compile"),
        (param("early_stop", None), "early_stop=None", "--early-stop null"),
        (param("train.max_time"), "train.max_time=", "--max-time"),
        (param("tokenizer", "T"), "tokenizer=T", "--tokenizer T"),
        (call("train", resume="auto", out="runs/a b"), 'pylm.train(resume="auto", out="runs/a b")',
         "pylm train --resume auto --out 'runs/a b'"),
        (call("tokenize", "my.txt", out="DIR"), 'pylm.prepare("my.txt", out=DIR)', "pylm tokenize my.txt --out DIR"),
        (call("tokenize", "a.txt", "b c.txt", force=True), 'pylm.prepare(["a.txt", "b c.txt"], force=True)',
         "pylm tokenize a.txt 'b c.txt' --force"),
        (call("verify", "runs/x"), "pylm verify runs/x", "pylm verify runs/x"),
    ],
)  # fmt: skip
def test_a_parameter_is_said_in_both_ways(marked: str, python: str, options: str) -> None:
    text = f"Before {marked} and after: {marked}."
    assert in_python(text) == f"Before {python} and after: {python}."
    assert in_options(text) == f"Before {options} and after: {options}."


@pytest.mark.parametrize("path", ["\x02", "a\x03b", "back\\slash", '"quoted"', "new\nline", "{}", "größe"])
def test_any_value_comes_through_whole(path: str) -> None:
    words = shlex.split(in_options(call("train", path, out=path)))
    assert words == ["pylm", "train", path, "--out", path]
    name, _, literal = in_python(param("out", path)).partition("=")
    assert (name, eval(literal)) == ("out", path)


def test_the_options_of_a_native_module_are_parameters() -> None:
    said = "--no such thing; --vocab-size 300, well--known or --skip-bad"
    assert in_options(options_marked(said)) == said
    others = "libreoffice --headless --convert-to txt a.odt"
    assert in_python(options_marked(others)) == others
    assert in_python(options_marked("--field 007 or --threads 2, --out DIR, --force")) == (
        'field="007" or threads=2, out=DIR, force=True'
    )
    assert in_python(options_marked(said)) == "no= such thing; vocab_size=300, well--known or skip_bad=True"


def test_errors_keep_both_through_a_process_border() -> None:
    error = pickle.loads(pickle.dumps(DataError(f"no {param('out')}", f"give {param('out', 'DIR')}")))
    assert (error.message, error.hint, str(error)) == ("no out=", "give out=DIR", "no out=")
    again = type(error)(*error.marked)
    assert [in_options(text) for text in again.marked] == ["no --out", "give --out DIR"]


def test_a_warning_speaks_python() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn(f"leave out {param('max_steps')}")
    (one,) = caught
    assert isinstance(one.message, PylmWarning) and str(one.message) == "leave out max_steps="
    assert in_options(one.message.marked) == "leave out --max-steps"
