"""The lines of docs/trackers.md that follow a metrics.jsonl: they run, and every figure arrives."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "trackers.md").read_text(encoding="utf-8")
(FOLLOWED,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
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


def test_whoever_follows_a_run_gets_every_figure(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        exec(compile(FOLLOWED, "docs/trackers.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == [f"{step} {values}" for step, values in EXPECTED]
