"""`pylm eval`: what it prints, side by side and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pylm
from pylm.cli import run
from tests.generation.small import small_model, small_tokenizer, write_run
from tests.support.alone import stand_alone

TEXT = "\n".join(json.dumps({"text": f"that cat {number} on the mat"}) for number in range(30)) + "\n"


@pytest.fixture(autouse=True)
def two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_alone(tmp_path, monkeypatch)
    tokenizer = small_tokenizer()
    for name, seed in (("a", 1), ("b", 2)):
        write_run(tmp_path / "runs" / name, small_model(tokenizer.vocab_size, seed), tokenizer)
    Path("val.jsonl").write_text(TEXT)


def test_a_line_a_checkpoint_and_how_they_differ(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "runs/a", "runs/b", "runs/a", "--data", "val.jsonl", "--by", "position,confidence"]) == 0
    out = capsys.readouterr().out
    found = pylm.evaluate("runs/a", data="val.jsonl")
    lines = out.splitlines()
    assert (
        lines[0].split()[0] == "checkpoint"
        and f"{found.loss:,.4f}" in lines[1]
        and f"{found.bits_per_byte:,.4f}" in lines[1]
    )
    assert "by position:" in lines and "by confidence:" in lines and "30 documents" in out
    assert [line for line in lines if "against" in line][-1].endswith("not distinguishable"), "a model is like itself"
    assert any(line.endswith(("better", "worse")) for line in lines)


def test_json_and_a_file_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "eval",
        "runs/a",
        "--checkpoint",
        "step_5",
        "--data",
        "val.jsonl",
        "--limit",
        "7",
        "--json",
        "--out",
        "e.jsonl",
    ]
    assert run(words) == 0
    got = json.loads(capsys.readouterr().out)
    (made,) = got["evaluations"]
    assert made["documents"] == 7 and made["loss"] > 0 and got["compared"] == []
    kept = [json.loads(line) for line in Path("e.jsonl").read_text().splitlines()]
    assert {line["metric"]: line["value"] for line in kept}["loss"] == made["loss"]
    assert not Path("runs/a/evaluations.jsonl").exists()


def test_bad_input_is_said_in_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "runs/a"]) == 1
    err = capsys.readouterr().err
    assert "names no data" in err and "--data DIR" in err and "Traceback" not in err
    assert run(["eval", "runs/a", "--data", "val.jsonl", "--by", "positon"]) == 2
    assert "did you mean position?" in capsys.readouterr().err
