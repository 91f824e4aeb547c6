"""`pylm data mix`: its table, what it takes from a configuration, and what it is told in vain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pylm.cli import run
from tests.data.mixing.shards import texts, tokenized


@pytest.fixture(autouse=True)
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tokenized(tmp_path / "wiki", texts(200, 1), vocab_size=270)
    tokenized(tmp_path / "web", texts(50, 2), tokenizer="wiki", val=0)
    return tmp_path


def test_it_shows_what_each_source_gave(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "mix", "wiki:0.2", "web:0.8", "--tokens", "30k", "--val", "0", "--out", "out"]) == 0
    out, err = capsys.readouterr()
    table = [line.split() for line in out.splitlines()]
    assert table[0] == ["source", "tokens", "weight", "epochs", "documents", "taken"]
    assert table[1][0] == "wiki" and table[1][2] == "0.200" and table[2][0] == "web" and float(table[2][3]) > 4
    taken = sum(int(row[5].replace(",", "")) for row in table[1:3])
    assert out.splitlines()[-1] == f"{taken:,} tokens for training and 0 tokens for validation → out"
    assert "web is gone through" in err and "--tokens" in err
    assert run(["data", "mix", "wiki:0.2", "web:0.8", "--tokens", "30k", "--val", "0", "--out", "out"]) == 0
    assert "are here already: out" in capsys.readouterr().out


def test_a_configuration_says_the_same(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (two / "mix.yaml").write_text("data:\n  sources: {wiki: 0.6, web: 0.4}\n  mix_tokens: 2000\n  val_share: 0.2\n")
    assert run(["data", "mix", "--config", "mix.yaml", "--out", "a", "--json"]) == 0
    assert run(["data", "mix", "wiki:0.6", "web:0.4", "--tokens", "2000", "--val", "0.2", "--out", "b", "--json"]) == 0
    one, other = capsys.readouterr().out.split("\n}\n")[:2]
    assert {**json.loads(one + "}"), "folder": ""} == {**json.loads(other + "}"), "folder": ""}
    assert (two / "a" / "train_00000.bin").read_bytes() == (two / "b" / "train_00000.bin").read_bytes()
    assert run(["data", "mix", "--config", "mix.yaml", "--tokens", "900", "--out", "c"]) == 0
    assert (two / "c" / "train_00000.bin").stat().st_size < (two / "a" / "train_00000.bin").stat().st_size
    assert run(["data", "mix", "wiki", "--config", "mix.yaml", "--out", "d"]) == 2


def test_a_temperature_of_a_configuration_wins_over_its_weights(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (two / "mix.yaml").write_text("data: {sources: {wiki: 1, web: 1}, mix_temperature: 1, val_share: 0}\n")
    assert run(["data", "mix", "--config", "mix.yaml", "--out", "a", "--json"]) == 0
    wiki, web = json.loads(capsys.readouterr().out)["parts"]
    assert wiki["weight"] == pytest.approx(wiki["tokens"] / (wiki["tokens"] + web["tokens"]))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--out", "x"], "nothing to mix was named"),
        (["wiki:0.5", "web", "--out", "x"], "web has no weight"),
        (["wiki:1", "--temperature", "0.3", "--out", "x"], "weights and --temperature both say the shares"),
        (["wiki", "--tokenizer", "gpt2", "--out", "x"], "--tokenizer is for texts"),
        (["wiki.txt", "--out", "x"], "name the tokenizer that makes them: --tokenizer gpt2"),
    ],
)
def test_bad_input_is_one_sentence(line: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "mix", *line]) == 2
    assert said in capsys.readouterr().err
