"""The Python of the pages on writing runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.generation.small import small_model, small_tokenizer, write_run

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("page", ["sampling.md", "apple.md"])
def test_the_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page == "apple.md":
        pytest.importorskip("mlx.core")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    tokenizer = small_tokenizer()
    write_run(Path("runs/x"), small_model(tokenizer.vocab_size, context_length=512), tokenizer, step=500)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    if page == "sampling.md":
        assert isinstance(names["text"], str) and names["text"]
