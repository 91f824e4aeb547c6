"""What cannot fit is refused before a tuning begins, whatever learns, by what that takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pylm
from pylm.errors import PylmError
from pylm.training.estimate import preflight
from pylm.training.estimate.room import Room
from tests.finetuning.conftest import SETTINGS

SHORT: Any = {**SETTINGS, "max_steps": 2, "batch_tokens": 128, "micro_batch": 1, "sample_every": None}
ROWS: dict[bool, Any] = {
    False: {"prompt": "a", "completion": " b"},
    True: {"prompt": "a", "chosen": " b", "rejected": " c"},
}


@pytest.mark.parametrize("method", ["full", "lora", "dpo", "dpo-lora"])
def test_a_tuning_that_cannot_fit_is_refused_in_a_sentence(
    method: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "tuned"
    rows.write_text("".join(json.dumps(ROWS["dpo" in method]) + "\n" for _ in range(40)))
    monkeypatch.setattr(preflight, "room_of", lambda machine, out: Room(1 << 20, 1 << 40, None, "here"))
    with pytest.raises(PylmError, match="of memory are needed") as refused:
        pylm.finetune(checkpoint="runs/base", dataset=str(rows), out=str(out), method=method, **SHORT)
    assert "\n" not in refused.value.marked[0]
    assert not list(out.rglob("*.safetensors"))
