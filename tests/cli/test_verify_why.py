"""`pylm verify` and `pylm why` on a run of a few steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.cli import run
from pylm.data import Loader

SHAPE = ["--n-layers", "1", "--n-heads", "1", "--d-model", "16", "--context-length", "8", "--batch-tokens", "32"]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    text = "<|endoftext|>".join(f"document {number} says {number * 7 % 31} and no more" for number in range(60))
    Path("text.txt").write_text(text)
    assert run(["tokenize", "text.txt", "--vocab-size", "272", "--out", "data", "--val", "0.1"]) == 0
    line = [
        "train",
        "--data",
        "data",
        *SHAPE,
        "--max-steps",
        "6",
        "--save-every",
        "2",
        "--log-every",
        "1",
        "--out",
        "r",
    ]
    assert run(line) == 0
    return tmp_path


def test_a_damaged_byte_is_found_and_the_newest_sound_checkpoint_named(trained: Path, capsys: Any) -> None:
    capsys.readouterr()
    assert run(["verify", "r"]) == 0
    assert capsys.readouterr().out.count("sound") == 3 - 1 + (Path("r/checkpoints/step_2").exists())
    path = Path("r/checkpoints/step_6/state.json")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert run(["verify", "r"]) == 3
    out, err = capsys.readouterr()
    assert "r/checkpoints/step_6: state.json is damaged" in out
    assert "pylm train --resume r/checkpoints/step_4" in err
    assert run(["verify", "r", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["newest_sound"] == "r/checkpoints/step_4"
    assert run(["verify", "r/checkpoints/step_4"]) == 0
    assert run(["verify", "nowhere"]) == 1
    assert "no checkpoint at nowhere" in capsys.readouterr().err


def test_why_shows_the_documents_of_a_step(trained: Path, capsys: Any) -> None:
    capsys.readouterr()
    assert run(["why", "r", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = Loader("data", 8, 4, seed=1337).why(3)
    assert [(one["start"], one["text"]) for one in found["documents"]] == [(one.start, one.text) for one in expected]
    assert [record["step"] for record in found["metrics"]] == [1, 2, 3, 4, 5, 6]
    assert run(["why", "r", "4"]) == 0
    out = capsys.readouterr().out
    assert "→ step 4" in out and "gradient norm" in out and "data/train_00000.bin document" in out
    assert np.isfinite(found["metrics"][3]["grad_norm"])


@pytest.mark.parametrize(
    ("words", "complaint"), [(["r", "900"], "has taken 6 steps"), (["data", "1"], "data is no run"), (["r", "0"], "0")]
)
def test_a_step_that_was_not_taken_is_refused(trained: Path, capsys: Any, words: list[str], complaint: str) -> None:
    capsys.readouterr()
    assert run(["why", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and complaint in err
