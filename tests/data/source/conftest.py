"""Files of documents that tests read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pylm import _rust


class PlainDocuments:
    """What `_rust.Documents` gives, plainly read: jsonl by the line, a txt by `<|endoftext|>`, three to a batch."""

    def __init__(self, sources: list[str], *, meta: bool = False, start: Any = None, field: str = "text", **_: Any):
        rows: list[tuple[str, str | None, str | None]] = []
        for name in sources:
            found = sorted(p for p in Path(name).rglob("*") if p.is_file()) if Path(name).is_dir() else [Path(name)]
            for path in found:
                if path.suffix == ".jsonl":
                    for line in path.read_text().splitlines():
                        row = json.loads(line)
                        text, key = row.pop(field), row.pop("id", None)
                        rows.append((text, None if key is None else str(key), json.dumps(row) if meta else None))
                else:
                    rows += [(text, None, None) for text in path.read_text().split("<|endoftext|>")]
        self.rows = rows
        self.position = start or [0]

    def __iter__(self) -> PlainDocuments:
        return self

    def __next__(self) -> list[tuple[str, str | None, str | None]]:
        row = self.position[0]
        batch = self.rows[row : row + 3]
        if not batch:
            raise StopIteration
        self.position = [row + len(batch)]
        return batch


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    if not hasattr(_rust.Documents, "position"):
        monkeypatch.setattr(_rust, "Documents", PlainDocuments)
    return tmp_path


@pytest.fixture
def rows(here: Path) -> list[dict[str, Any]]:
    """Rows that lie in rows.jsonl: text of every length, an id, another key."""
    made = [{"id": number, "text": "wort " * (number % 7) + f"é{number}", "n": number % 3} for number in range(40)]
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, made)) + "\n")
    return made
