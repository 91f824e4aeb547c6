"""The lines of docs/training.md that send metrics.jsonl to a dashboard: they run, and every figure arrives."""

from __future__ import annotations

import json
import re
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
WANDB, TENSORBOARD = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
RECORDS: list[dict[str, Any]] = [
    {"step": 1, "loss": 3.0, "phase": {"data": 0.1}, "mfu": None},
    {"step": 1, "val_loss": 2.5},
    {"step": 2, "loss": 2.0},
]
EXPECTED = [(1, {"step": 1, "loss": 3.0}), (1, {"step": 1, "val_loss": 2.5}), (2, {"step": 2, "loss": 2.0})]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder; whoever waits for more of it is told that there is none."""
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    monkeypatch.setattr(sys, "argv", ["send.py", str(tmp_path)])
    monkeypatch.setattr(time, "sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    return tmp_path


def test_weights_and_biases(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    board = types.SimpleNamespace(log=lambda values, step: sent.append((step, values)))
    wandb = types.ModuleType("wandb")
    wandb.init = lambda project, name: board  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with pytest.raises(KeyboardInterrupt):
        exec(compile(WANDB, "docs/training.md", "exec"), {})
    assert sent == EXPECTED


def test_tensorboard(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    board = types.SimpleNamespace(add_scalar=lambda key, value, step: sent.append((step, key, value)))
    package = types.ModuleType("torch.utils.tensorboard")
    package.SummaryWriter = lambda folder: board  # type: ignore[attr-defined]
    names = ("torch", "torch.utils", "torch.utils.tensorboard")
    for name, module in zip(names, (types.ModuleType("torch"), types.ModuleType("torch.utils"), package), strict=True):
        monkeypatch.setitem(sys.modules, name, module)
        if "." in name:
            parent, _, own = name.rpartition(".")
            setattr(sys.modules[parent], own, module)
    with pytest.raises(KeyboardInterrupt):
        exec(compile(TENSORBOARD, "docs/training.md", "exec"), {})
    assert sent == [(step, key, value) for step, values in EXPECTED for key, value in values.items()]
