"""`pylm data check`: what is learned, how long, and what is wrong; examples in `show`, `stats`, `mix` and `split`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pylm.cli import run
from pylm.data.chat import prepare
from pylm.tokenizer import Tokenizer

WORDS = "hello there world how are you today well thanks a lot"
Caught = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Tokenizer.train(lambda: [WORDS] * 20, vocab_size=285)
    return made.save(tmp_path_factory.mktemp("tok") / "tok")


def lines(*rows: dict[str, Any]) -> str:
    Path("f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "f.jsonl"


PAIRS = [
    {"prompt": "how are", "completion": " you"},
    {"prompt": "hello there " * 9, "completion": " world"},
    {"prompt": "how a", "completion": "re you"},
]
TALK = {"messages": [{"role": "user", "content": "how"}, {"role": "assistant", "content": "well"}]}


def test_what_is_learned_stands_between_brackets(tokenizer: Path, capsys: Caught) -> None:
    code = run(["data", "check", lines(*PAIRS), "--tokenizer", str(tokenizer), "--context-length", "16"])
    out = capsys.readouterr().out
    assert code == 0
    assert "f.jsonl line 1:\nhow are[[ you<|endoftext|>]]\n" in out
    assert "3 examples of the form completion, as they are" in out
    assert "1 lose the beginning of their prompt to a context of 16" in out
    assert "1 are other tokens than as one text" in out
    assert "past the context" in out


def test_colours(tokenizer: Path, capsys: Caught, monkeypatch: pytest.MonkeyPatch) -> None:
    from pylm.cli.frame import masked

    monkeypatch.setattr(masked, "plain_wanted", lambda stream: False)
    parts = masked.masked_text([("how are", False), (" you", True)])
    assert parts == "\x1b[2mhow are\x1b[0m\x1b[32m you\x1b[0m"


def test_tokens_that_are_lacking_are_named(tokenizer: Path, capsys: Caught) -> None:
    assert run(["data", "check", lines(TALK), "--tokenizer", str(tokenizer)]) == 0
    out = capsys.readouterr().out
    assert "<|im_start|>assistant\n[[well<|im_end|>]]" in out
    assert "the tokenizer lacks <|im_start|>, <|im_end|>, which pylm finetune adds" in out


def test_json(tokenizer: Path, capsys: Caught) -> None:
    assert run(["data", "check", lines(*PAIRS), "--tokenizer", str(tokenizer), "--overflow", "drop", "--json",
                "--context-length", "16", "--examples", "1"]) == 0  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    assert said["counts"] == {"examples": 3, "cut": 0, "dropped": 1, "all_masked": 0, "crossed": 1}
    assert said["shown"] == [["f.jsonl line 1", [["how are", False], [" you<|endoftext|>", True]]]]
    assert sum(count for _, count in said["histogram"]) == 3
    assert said["lengths"]["shortest"] == min(len(Tokenizer.load(tokenizer).encode("how are you")) + 1, 99)


def test_answers_that_are_all_too_long_are_a_fault(tokenizer: Path, capsys: Caught) -> None:
    long = {"prompt": "hello", "completion": " world" * 9}
    args = ["--tokenizer", str(tokenizer), "--context-length", "4"]
    assert run(["data", "check", lines(long, long), *args]) == 3
    assert "every answer is too long for the context, of 2 examples" in capsys.readouterr().err
    assert run(["data", "check", lines(long, {"prompt": "h", "completion": "i"}), *args]) == 0


def test_faults_are_counted_and_end_with_three(tokenizer: Path, capsys: Caught) -> None:
    Path("t.jinja").write_text(
        "{% for m in messages %}{% generation %}{{ m.content if m.content != 'x' }}{% endgeneration %}{% endfor %}"
    )
    empty = {"messages": [{"role": "assistant", "content": "x"}]}
    args = ["data", "check", lines(TALK, empty, TALK, empty), "--tokenizer", str(tokenizer), "--template", "t.jinja"]
    assert run(args) == 3
    assert "nothing would be learned of 2 of 4 examples" in capsys.readouterr().err
    Path("t.jinja").write_text("{% for m in messages %}{{ m.content if loop.last else m.content[:1] }}|{% endfor %}")
    two = {"messages": TALK["messages"] * 2}
    assert run(["data", "check", lines(TALK, two), *args[3:]]) == 3
    err = capsys.readouterr().err
    assert "examples cannot be learned: f.jsonl line " in err and "the template rewrites message" in err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--template", "none.jinja"], "cannot read the template none.jinja"),
        (["--overflow", "cut"], "overflow is 'cut'"),
        (["--checkpoint", "runs/a"], "--checkpoint and --tokenizer both name a tokenizer"),
    ],
)
def test_bad_options(tokenizer: Path, capsys: Caught, args: list[str], words: str) -> None:
    assert run(["data", "check", lines(*PAIRS), "--tokenizer", str(tokenizer), *args]) in (1, 2)
    assert words in capsys.readouterr().err


def test_without_a_model_or_a_tokenizer(capsys: Caught) -> None:
    assert run(["data", "check", lines(*PAIRS)]) == 1
    assert "error: " in capsys.readouterr().err


def test_shards_of_examples(tokenizer: Path, capsys: Caught) -> None:
    prepare(PAIRS, Tokenizer.load(tokenizer), "data", val=0)
    assert run(["data", "verify", "data"]) == 0
    assert run(["data", "stats", "data"]) == 0
    assert "tokens are learned" in capsys.readouterr().out
    assert run(["data", "show", "data"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line[0] for line in out[1:]][-2:] == ["+", "+"] and out[1].startswith("  ")
    for args in (["split", "data", "--out", "x"], ["mix", "data:1.0", "--tokens", "50", "--out", "y"]):
        assert run(["data", *args]) == 1
        assert "holds examples, and what is learned of each would be lost" in capsys.readouterr().err
    assert not Path("x").exists() and not Path("y").exists()
