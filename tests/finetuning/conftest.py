"""A base that is trained once, and examples: what every test here tunes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import pylm
from pylm.data.stories import stories

SHAPE: Any = {"n_layers": 2, "n_heads": 2, "d_model": 16, "context_length": 64, "vocab_size": 300}
SETTINGS: Any = {"device": "cpu", "compile": False, "backend": "torch", "precision": "fp32", "log_every": 1}
WORDS = "red blue green cat dog sun moon tree ball fish".split()
PEAK = 1e-2


def conversations(count: int, seed: int = 3) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    pairs = [chance.sample(WORDS, 2) for _ in range(count)]
    return [
        {"messages": [{"role": "user", "content": f"say {a} {b}"}, {"role": "assistant", "content": f"{a} {b}"}]}
        for a, b in pairs
    ]


def write_rows(file: str, rows: list[dict[str, Any]]) -> None:
    Path(file).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run, `runs/base`, and with `chat.jsonl` and `pairs.jsonl`."""
    folder = tmp_path_factory.mktemp("finetuning")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYLM_CACHE", str(folder / "cache"))
        Path("s.txt").write_text("".join(stories(60_000, seed=1)))
        pylm.train(
            "s.txt", out="runs/base", on_event=lambda event: None, max_steps=20, learning_rate=PEAK, batch_tokens=512,
            eval_batches=2, **SHAPE, **SETTINGS,
        )  # fmt: skip
        rows = conversations(120)
        write_rows("chat.jsonl", rows)
        turns = [[turn["content"] for turn in row["messages"]] for row in rows]
        write_rows("pairs.jsonl", [{"prompt": f"{asked} ->", "completion": f" {said}"} for asked, said in turns])
    return folder


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYLM_CACHE", str(workplace / "cache"))
    return workplace
