"""`pylm demo`: it goes the whole way, and with its minute the stories hold together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pylm.cli import run


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
    assert "follow the grammar" in out and out.count("pylm tokenize my.txt") == 1 and "┤" in out
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
