"""Files of documents that tests read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def rows(here: Path) -> list[dict[str, Any]]:
    """Rows that lie in rows.jsonl: text of every length, an id, another key."""
    made = [{"id": number, "text": "wort " * (number % 7) + f"é{number}", "n": number % 3} for number in range(40)]
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, made)) + "\n")
    return made
