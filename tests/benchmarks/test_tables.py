"""The tables that README and the docs show are the committed results."""

import json
from pathlib import Path

import pytest

from benchmarks import tables

PAGES = [tables.ROOT / "README.md", tables.ROOT / "kernels" / "README.md", *sorted((tables.ROOT / "docs").glob("*.md"))]
SHOWING = [page for page in PAGES if tables.BLOCK.search(page.read_text(encoding="utf-8"))]


def test_there_are_pages_that_show_what_was_measured() -> None:
    assert SHOWING, "without a table on any page the next test holds of nothing"
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("<!-- results:") == len(tables.BLOCK.findall(text)), f"{page}: a table without its end"


@pytest.mark.parametrize("page", SHOWING, ids=lambda path: path.name)
def test_a_page_shows_what_was_measured(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    assert tables.rewritten(text) == text, "python -m benchmarks.tables renews it"
    monkeypatch.setattr(tables, "markdown", lambda path: "another figure\n")
    assert tables.rewritten(text) != text


def test_a_changed_figure_changes_the_page(tmp_path: Path) -> None:
    row = {"name": "case", "ours": 0.5, "peer": 2.0, "peer_version": "1.0", "ratio": 4.0, "spread": [3.5, 4.5]}
    content = {
        "machine": {"cpu": "C", "cores": 2, "features": ["avx2"]},
        "rows": [{**row, "bar": "≥ 3×", "verdict": "met", "unit": "s"}],
    }
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "s.json").write_text(json.dumps(content))
    page = tables.rewritten("before\n<!-- results: m/s -->\nold\n<!-- end -->\nafter\n", tmp_path)
    assert page.startswith("before\n<!-- results: m/s -->\nC, 2 cores (avx2)") and page.endswith(
        "<!-- end -->\nafter\n"
    )
    assert "| case | 500 ms | 2 s | 1.0 | 4.00× | 3.50–4.50 | ≥ 3× | met |" in page
    assert tables.rewritten(page, tmp_path) == page
