"""`pylm data split`: its line, what it takes from a configuration, and the commands that read one too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pylm.cli import run
from tests.data.mixing.shards import EOT, documents_of, drawn, nanogpt, texts, tokenized


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_says_what_went_where(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nanogpt(here / "corpus.bin", drawn(200, 1))
    line = ["data", "split", "corpus.bin", "--val", "0.1", "--by", "tail", "--out", "out"]
    assert run(line) == 2
    assert "it: 50256 is" not in (err := capsys.readouterr().err) and "--eot 50256" in err
    assert run([*line, "--eot", str(EOT)]) == 0
    train, val = documents_of(here / "out", "train"), documents_of(here / "out", "val")
    assert capsys.readouterr().out == (
        f"{len(train)} documents and {sum(map(len, train)):,} tokens for training, "
        f"{len(val)} documents and {sum(map(len, val)):,} tokens for validation → out\n"
    )


def test_a_configuration_says_the_same(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenized(here / "in", texts(300, 1), vocab_size=270)
    (here / "s.yaml").write_text("data: {path: in, val_share: 0.2, split_by: tail}\n")
    assert run(["data", "split", "--config", "s.yaml", "--out", "a", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert run(["data", "split", "in", "--val", "0.2", "--by", "tail", "--out", "b"]) == 0
    assert made["documents"]["val"] == len(documents_of(here / "b", "val"))
    assert documents_of(here / "a", "val") == documents_of(here / "b", "val")
    assert run(["data", "split", "--config", "s.yaml", "--by", "hash", "--out", "c"]) == 0
    assert documents_of(here / "c", "val") != documents_of(here / "b", "val")
    assert run(["data", "split", "--out", "d"]) == 2
    assert "no shards were named" in capsys.readouterr().err


def test_tokenize_and_list_take_a_configuration(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenized(here / "tok", texts(50, 1), vocab_size=270)
    for name, seed in (("a", 2), ("b", 3)):
        (here / f"{name}.txt").write_text("<|endoftext|>".join(texts(200, seed)))
    (here / "t.yaml").write_text("data: {sources: {a.txt: 0.75, b.txt: 0.25}, tokenizer: tok, val_share: 0.2}\n")
    assert run(["tokenize", "--config", "t.yaml", "--out", "x"]) == 0
    manifest = json.loads((here / "x" / "manifest.json").read_text())
    assert manifest["tokenizer"] == json.loads((here / "tok" / "manifest.json").read_text())["tokenizer"]
    assert manifest["settings"]["validation"] == 0.2 and manifest["splits"]["val"]["documents"] > 20
    assert run(["tokenize", "--config", "t.yaml", "--val", "0", "--out", "y"]) == 0
    assert json.loads((here / "y" / "manifest.json").read_text())["splits"]["val"]["documents"] == 0
    assert run(["tokenize"]) == 2
    capsys.readouterr()
    (here / "l.yaml").write_text("data: {sources: {a.txt: 1, tinystories: 1}}\n")
    assert run(["data", "list", "--config", "l.yaml", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["datasets"]] == ["tinystories"]
    assert run(["data", "list", "--config", "t.yaml"]) == 2
    assert "no source of t.yaml is a dataset" in capsys.readouterr().err


def test_training_takes_the_tokenizer_and_the_share(here: Path) -> None:
    from pylm.data.for_training import amount_of_text, prepare_for_training

    tokenized(here / "tok", texts(50, 1), vocab_size=270)
    (here / "a.txt").write_text("<|endoftext|>".join(texts(300, 2)))
    made = prepare_for_training(["a.txt"], tokenizer="tok", val=0.2)
    assert made.manifest is not None and made.vocab_size == 270 and not made.trained
    assert made.manifest["settings"]["validation"] == 0.2
    assert amount_of_text(["a.txt"], tokenizer="tok")[1] == 270
