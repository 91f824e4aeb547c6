"""What rooms say of parameters: a Python program reads keywords, the command line prints options, word for word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pylm
from pylm.config.foreign import answer
from pylm.config.schema import Sample
from pylm.data.identity import identify
from pylm.errors import PylmError
from pylm.generation.load import open_session
from pylm.generation.session import Session
from pylm.tokenizer import plot
from pylm.wording import in_options, in_python

TEXT = "some words of a text that nobody reads twice, and a few more of them. " * 300


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(TEXT)
    Path("b.jsonl").write_text('{"body": "words"}\n')
    Path("bad.txt").write_bytes(b"fine \xff text " * 100)
    np.save("train.npy", np.arange(100, dtype=np.uint16))
    Path("mine").mkdir()
    Path("mine/tokenizer.json").write_text("{}")


def trained(**options: Any) -> Callable[[], Any]:
    return lambda: pylm.Tokenizer.train("a.txt", options.pop("vocab_size", 300), **options)


def prepared(source: str = "a.txt", **options: Any) -> Callable[[], Any]:
    return lambda: pylm.prepare(source, "out", **options)


def opened(**options: Any) -> Callable[[], Any]:
    return lambda: open_session("nowhere", **options)


def guessing() -> Session:
    engine: Any = SimpleNamespace(name="MLX", verifies=False, vocab_size=9)
    tokenizer: Any = SimpleNamespace(vocab_size=9, eot=None)
    return Session(engine, tokenizer)


CASES: list[tuple[Callable[[], Any], str, str]] = [
    # what is called, what Python reads of it, what the command line prints
    (trained(vocab_size=100), "vocab_size=257 is the least", "--vocab-size 257 is the least"),
    (trained(threads=-1), "threads= is -1", "--threads is -1"),
    (trained(documents=0), "documents= is less than 1", "--documents is less than 1"),
    (trained(character_coverage=0.9), 'model="bpe" takes no character_coverage=',
     "--model bpe takes no --character-coverage"),
    (trained(model="unigram", continue_from="x"), 'model="unigram" takes no continue_from=',
     "--model unigram takes no --continue"),
    (trained(model="unigram", character_coverage=0.1), "character_coverage= is a share between 0.5 and 1",
     "--character-coverage is a share between 0.5 and 1"),
    (trained(invalid="x"), 'invalid= "x" is neither error', '--invalid "x" is neither error nor replace'),
    (lambda: pylm.Tokenizer.train("bad.txt", 300), 'or use invalid="replace" to put U+FFFD there',
     "or use --invalid replace to put U+FFFD there"),
    (prepared(rank=1), "rank= and world= go together", "--rank and --world go together"),
    (prepared(rank=1), "for the first of four processes: rank=0 world=4",
     "for the first of four processes: --rank 0 --world 4"),
    (prepared(rank=0, world=2), "train one first: pylm tokenizer train SOURCE --out tok",
     "train one first: pylm tokenizer train SOURCE --out tok"),
    (prepared(ray="auto", rank=0, world=2), "ray= shares the work by itself, without rank= and world=",
     "--ray shares the work by itself, without --rank and --world"),
    (prepared(ray="auto", force=True), "ray= shares the work by itself, without force=True",
     "--ray shares the work by itself, without --force"),
    (prepared(tokenizer="x", vocab_size=300), "vocab_size= is for a tokenizer to train, and tokenizer= names one",
     "--vocab-size is for a tokenizer to train, and --tokenizer names one"),
    (prepared(tokenizer="x", specials=["<a>"]), "specials= is for a tokenizer to train",
     "--special is for a tokenizer to train"),
    (prepared(split=""), "split= was given nothing to split at", "--split was given nothing to split at"),
    (prepared("b.jsonl"), "its longest text is under \"body\": field= body", "is under \"body\": --field body"),
    (prepared(val=1.0), "val=1 is no share of the text", "--val 1 is no share of the text"),
    (lambda: pylm.prepare("a.txt", "mine", vocab_size=300), "choose another out=, encode with it by tokenizer=\"mine\"",
     "choose another --out, encode with it by --tokenizer mine, or give --force"),
    (lambda: identify("nowhere"), 'pylm.prepare("my.txt", out=DIR)', "pylm tokenize my.txt --out DIR"),
    (lambda: guessing().stream([[1]], Sample(), speculate=True), 'leave out speculate=, or backend="torch"',
     "leave out --speculate, or --backend torch"),
    (opened(backend="native", device="cuda"), "leave out device=, or backend=", "leave out --device, or --backend"),
    (opened(quantize="int8", backend="torch"), 'quantize="int8" is for the C++ engine on a CPU',
     "--quantize int8 is for the C++ engine on a CPU"),
    (opened(quantize="int8", backend="torch"), 'leave it out, or backend="native"',
     "leave it out, or --backend native"),
    (opened(quantize="int8", dtype="bf16"), "quantize= and dtype= both say how weights are kept",
     "--quantize and --dtype both say how weights are kept"),
    (opened(backend="native", cache=False), 'without a cache: backend="torch"', "without a cache: --backend torch"),
    (lambda: plot.check_picture(Path("x.gif")), "plot= x.gif: pictures are", "--plot x.gif: pictures are"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "python", "options"), CASES)
def test_a_sentence_is_said_in_both_ways(call: Callable[[], Any], python: str, options: str) -> None:
    with pytest.raises(PylmError) as caught:
        call()
    error = caught.value
    said = f"{error.message}\n{error.hint}"
    typed = "\n".join(in_options(part or "") for part in error.marked)
    assert python in said and options in typed
    assert "\x02" not in said and ("--" not in said or "--" in python)


@pytest.mark.parametrize(
    ("key", "section", "python", "options"),
    [
        ("output_dir", "", '`pylm.train(out=RUN)` names one folder', "`pylm train --out RUN` names one folder"),
        ("resume_from_checkpoint", "", "`pylm.train(resume=CHECKPOINT)`", "`pylm train --resume CHECKPOINT`"),
        ("model", "", "a named shape is preset=NAME", "a named shape is --preset NAME, such as gpt2-124m; weights to "
         "begin from are --init-from"),
        ("model_path", "sample", "it is checkpoint= here", "it is --checkpoint here"),
        ("preprocessing", "", "whose folder `pylm train data=` names", "whose folder `pylm train --data` names"),
    ],
)  # fmt: skip
def test_keys_of_older_tools_are_answered_in_both_ways(key: str, section: str, python: str, options: str) -> None:
    said = answer(key, section)
    assert said is not None and python in in_python(said) and options in in_options(said)
