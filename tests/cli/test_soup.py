"""`pylm soup`: what it prints, and that what it makes is a CHECKPOINT everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pylm.cli import run
from tests.generation.small import small_model, small_tokenizer, write_run
from tests.support.alone import stand_alone
from tests.support.small_runs import SMALL

TEXTS = [f"that cat {number} on the mat, and then the other one at {number * 7}" for number in range(200)]


@pytest.fixture(autouse=True)
def two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_alone(tmp_path, monkeypatch)
    tokenizer = small_tokenizer()
    for seed, name in enumerate("ab"):
        write_run(Path("runs", name), small_model(tokenizer.vocab_size, seed, n_layers=1), tokenizer)
    Path("val.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))


def test_a_soup_is_evaluated_sampled_and_trained_further(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["soup", "runs/a", "runs/b", "--out", "s", "--method", "weighted", "--weights", "1,3"]) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines() if line.startswith("runs/")] in (
        [["runs/a", "5", "0.2500"], ["runs/b", "5", "0.7500"]],
        [["runs/b", "5", "0.7500"], ["runs/a", "5", "0.2500"]],
    )
    assert out.endswith("s: weighted of 2 checkpoints\n")
    Path("runs/a/config.yaml").write_bytes(Path("s/config.yaml").read_bytes())
    assert run(["compare", "runs/a", "s"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("soup of")]
    assert row.split()[2] == "-" and sorted(row.partition("-")[2].strip().split(", ")) == ["runs/a 0.25", "runs/b 0.75"]
    assert run(["verify", "s"]) == 0
    assert "s: sound, weighted of runs/" in capsys.readouterr().out
    assert run(["eval", "s", "--data", "val.jsonl", "--limit", "3"]) == 0
    assert run(["sample", "--checkpoint", "s", "--prompt", "that", "--max-tokens", "3"]) == 0
    for name, value in SMALL.items():
        if "MODEL" not in name:
            monkeypatch.setenv(name, value)
    small_tokenizer().save("tok")
    assert run(["tokenize", "val.jsonl", "--tokenizer", "tok", "--out", "data"]) == 0
    words = [
        "--init-from",
        "s",
        "--out",
        "runs/c",
        "--max-steps",
        "2",
        "--eval-every",
        "null",
        "--sample-every",
        "null",
    ]
    assert run(["train", "--data", "data", "--batch-tokens", "96", "--micro-batch", "2", *words]) == 0
    capsys.readouterr()
    assert run(["train", "--resume", "s"]) == 1
    assert "s is a soup of weights, with no optimizer to go on with\nhint: --init-from s" in capsys.readouterr().err


def test_greedy_prints_what_it_found_and_json_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    few = "".join(json.dumps({"text": text[:20]}) + "\n" for text in TEXTS[:12])
    Path("few.jsonl").write_text(few)
    words = ["soup", "runs/a", "runs/b", "--method", "greedy", "--data", "few.jsonl"]
    assert run([*words, "--out", "s"]) == 0
    said = capsys.readouterr()
    assert "few.jsonl: loss" in said.out and "documents that decided nothing" in said.out
    assert said.err.count("with it") == 2
    assert run([*words, "--out", "t", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["checkpoint"] == "t" and len(found["candidates"]) == 2 and found["reported"]["loss"] > 0


def test_bad_input_is_said_in_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["soup", "runs/a", "runs/b", "--out", "s", "--weights", "1,2"]) == 2
    assert "--weights is for weighted and karcher" in capsys.readouterr().err
    assert run(["soup", "runs/a", "runs/b", "--out", "s", "--weights", "1;2"]) == 2
    assert "1;2 is no list of numbers such as 1,2,1" in capsys.readouterr().err
    assert run(["soup", "runs/a", "runs/b"]) == 2
    assert "--out" in capsys.readouterr().err
    assert run(["soup", "runs/a", "runs/b", "--out", "runs/a"]) == 1
    assert "runs/a exists already" in capsys.readouterr().err
