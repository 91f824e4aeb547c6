"""`pylm chat --session`: what was typed wins over the file, and is said."""

# ruff: noqa: F811 - fixtures are found by their names
from __future__ import annotations

import json
from pathlib import Path

from tests.cli.test_sample import Given, chat, elsewhere, pylm_, talker  # noqa: F401


def test_what_was_typed_wins_over_the_session_and_is_said(pylm_: Given, talker: Path) -> None:
    chat(pylm_, "--session", "t.json", "--temperature", 0.9, "--top-k", 7, "--system", "First.", stdin="Hi\n")
    Path("pylm.yaml").write_text("sample:\n  top_k: 3\n")  # lies in the folder, was not typed
    _, err = chat(pylm_, "--session", "t.json", stdin="/show\n")
    assert "max_tokens 12, seed 3" in err and "temperature 0.9" in err and "top_k 7" in err
    _, err = chat(pylm_, "--session", "t.json", "--temperature", 0.2, "--system", "Second.", stdin="/show\nAnd?\n")
    said = (
        "system text and settings are the file's, but as typed: temperature 0.2, max_tokens 12, seed 3, the system text"
    )
    assert said in err and "temperature 0.2, top_k 7" in err
    kept = json.loads(Path("t.json").read_text())
    assert kept["settings"]["temperature"] == 0.2 and kept["settings"]["top_k"] == 7
    assert [part["role"] for part in kept["messages"]] == ["system", *["user", "assistant"] * 2]
    assert kept["messages"][0]["content"] == "Second."
    chat(pylm_, "--session", "t.json", "--preset", "greedy", "--system", "", stdin="And?\n")
    kept = json.loads(Path("t.json").read_text())
    assert kept["settings"]["temperature"] == 0 and kept["messages"][0]["role"] == "user"
