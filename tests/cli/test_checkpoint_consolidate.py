"""`pylm checkpoint consolidate`, and what other commands say of a checkpoint in shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pylm.checkpoint import ShardedSaver, Tensor, verify
from pylm.cli import run


@pytest.fixture
def in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("r").mkdir()
    saver = ShardedSaver(Path("r"), 1, "", {}, rank=0, gather=lambda mine: [list(mine)], consolidates=False)
    weight = Tensor.of("F32", (2, 3), bytes(range(24)))
    saver.save({"embed.weight": weight}, {"step": Tensor.of("I64", (), bytes(8))}, {"step": 7}, False)
    saver.wait()
    return Path("r/checkpoints/step_7")


def test_shards_become_whole_once(in_shards: Path, capsys: Any) -> None:
    assert run(["verify", "r"]) == 0
    capsys.readouterr()
    assert run(["checkpoint", "consolidate", "r/step_7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(in_shards), "joined": True}
    assert bytes(verify(in_shards).weights()["embed.weight"].data) == bytes(range(24))
    assert run(["checkpoint", "consolidate", "r"]) == 0
    assert capsys.readouterr().out == f"{in_shards} was whole already\n"


WANT_ALL = ("sample --checkpoint r", "eval r --data .", "export r --to hf --out x", "soup r r --out s")


@pytest.mark.parametrize("line", WANT_ALL)
def test_what_wants_a_whole_one_says_the_line_that_makes_it(in_shards: Path, capsys: Any, line: str) -> None:
    assert run(line.split()) == 1
    error = capsys.readouterr().err
    assert f"{in_shards} is in shards, as 1 rank wrote them" in error
    assert f"pylm checkpoint consolidate {in_shards}" in error


def test_what_is_no_checkpoint_is_refused(in_shards: Path, capsys: Any) -> None:
    assert run(["checkpoint", "consolidate", "nowhere"]) == 1
    assert "no checkpoint at nowhere" in capsys.readouterr().err
