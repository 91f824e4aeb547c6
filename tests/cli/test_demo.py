"""`pylm demo`: it goes the whole way, and with its minute the stories hold together."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pylm.cli import run
from pylm.cli.demo import LEAST_SIZE, VOCABULARIES, _curve
from pylm.data.stories import stories
from pylm.tokenizer import Tokenizer

LAST = 'two lines:\n  pylm train my.txt\n  pylm sample --prompt "Once upon a time"'


def test_the_whole_way_in_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pylm.cli.demo.JUDGED", 2)
    assert run(["demo", "--time", "1s", "--size", "7M"]) == 0
    out, _ = capfd.readouterr()
    assert [line.split()[2] for line in out.splitlines() if line.startswith("$ pylm")] == [
        "tokenizer",
        "tokenize",
        "train",
        "sample",
    ]
    assert "follow the grammar" in out and out.rstrip().endswith(LAST) and "┤" in out
    for name in ("stories.txt", "tok/tokenizer.json", "data/manifest.json", "metrics.jsonl", "loss.svg", "checkpoints"):
        assert (tmp_path / "runs" / "demo" / name).exists(), name
    assert run(["sample", "--max-tokens", "5"]) == 0  # the newest run is found without its name


def test_what_is_no_demo_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    assert run(["demo", "--out", "mine"]) == 2
    assert "mine holds something else than a demo" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_plot_is_no_wider_than_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = [json.dumps({"step": step, "loss": 9 - step / 100}) for step in range(1, 401)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    _curve(tmp_path)
    plot = [line for line in capsys.readouterr().out.splitlines() if "┤" in line or "└" in line]
    assert max(map(len, plot)) == min(columns - 1, 81)


def test_too_little_text_is_refused_before_anything_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    old = tmp_path / "runs" / "demo" / "stories.txt"
    old.parent.mkdir(parents=True)
    old.touch()
    assert run(["demo", "--size", "400K"]) == 2
    assert "--size 400,000 bytes of stories are too few" in capsys.readouterr().err and old.exists()


@pytest.mark.parametrize("size", [LEAST_SIZE, 2_999_999, 3_000_000])
def test_the_vocabulary_is_one_that_the_text_has_merges_for(tmp_path: Path, size: int) -> None:
    corpus = tmp_path / "stories.txt"
    with corpus.open("w") as file:
        file.writelines(stories(size, 1))
    vocabulary = next(ids for least, ids in VOCABULARIES if size >= least)
    assert Tokenizer.train(corpus, vocabulary).vocab_size == vocabulary


@pytest.mark.slow
def test_a_minute_makes_stories_that_hold_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--full"):
        pytest.skip("trains for a minute: runs with --full")
    monkeypatch.chdir(tmp_path)
    assert run(["demo"]) == 0
    shares = [int(share) for share in re.findall(r"(\d+)%", capfd.readouterr().out.split("such stories")[1])]
    grammatical, faithful, copied = shares[:3]
    assert grammatical >= 90 and faithful >= 75 and copied <= 20
