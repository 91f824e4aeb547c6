"""`pylm export` and `pylm import`: what they print, and that what comes in is a CHECKPOINT everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pylm.cli import run
from tests.interchange.runs import small_run
from tests.support.alone import stand_alone


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_alone(tmp_path, monkeypatch)
    small_run()


def test_out_and_in_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "runs/a", "--to", "hf", "--out", "mine", "--dtype", "bf16", "--no-certify"]) == 0
    assert capsys.readouterr().out.startswith("mine: llama for hf, 6 files, ")
    assert run(["import", "mine", "--out", "back", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"checkpoint": "back", "step": 0, "from": "mine", "format": "Hugging Face's layout"}
    assert run(["verify", "back"]) == 0
    Path("val.jsonl").write_text(json.dumps({"text": "that cat on the mat"}) + "\n")
    assert run(["eval", "--checkpoint", "back", "--data", "val.jsonl"]) == 0
    assert run(["sample", "--checkpoint", "back", "--prompt", "that", "--max-tokens", "3"]) == 0


def test_what_is_wrong_is_said_in_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "runs/a", "--to", "torch", "--out", "mine"]) == 2
    assert "error: nanoGPT's class has no norm rmsnorm" in capsys.readouterr().err
    assert run(["export", "runs/a", "--out", "mine"]) == 2
    assert run(["import", "runs/a", "--out", "mine"]) == 1
    assert "error: runs/a is none of what is read: a folder with checkpoints" in capsys.readouterr().err
    assert run(["export", "runs/a", "--to", "hf", "--out", "mine", "--push", "mine"]) == 2
    assert "error: --push is 'mine'" in capsys.readouterr().err
    assert not Path("mine").exists()


def test_the_lines_that_upload_are_printed_and_nothing_is_uploaded(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "runs/a", "--to", "hf", "--out", "mine", "--no-certify", "--push", "org/name"]
    assert run(words) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "hf auth login", "hf upload org/name mine --repo-type model"
    ]  # fmt: skip
    assert run([*words[:5], "again", *words[6:], "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["compared"] == [] and said["layout"] == "llama" and said["files"]["config.json"] > 100
