"""The tables that README and the docs show are the committed results."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import summary, tables

PAGES = tables.PAGES
SHOWING = [page for page in PAGES if tables.BLOCK.search(page.read_text(encoding="utf-8"))]
MACHINE = tables.RESULTS / tables.PICTURED
BLUE, RED = "#3b7ea1", "#c0392b"


def test_there_are_pages_that_show_what_was_measured() -> None:
    assert tables.ROOT / "README.md" in SHOWING, "without a table on a page the next test holds of nothing"
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        begun = text.count("<!-- results:") + text.count("<!-- summary:")
        assert begun == len(tables.BLOCK.findall(text)), f"{page}: a table without its end"


@pytest.mark.parametrize("page", SHOWING, ids=lambda path: path.name)
def test_a_page_shows_what_was_measured(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    assert tables.rewritten(text) == text, "python -m benchmarks.tables renews it"
    for place in (tables, summary):
        monkeypatch.setattr(place, "markdown", lambda path: "another figure\n")
    assert tables.rewritten(text) != text


def test_the_summary_shows_rows_that_we_lose() -> None:
    words, claims = summary.found(MACHINE)
    assert "AMD EPYC" in words and len({claim.name for claim, _ in claims}) == len(summary.CLAIMS)
    table = summary.markdown(MACHINE)
    slower = [row for _, row in claims if row.ratio is not None and row.ratio < 1]
    short = [row for _, row in claims if row.verdict == "short" and row not in slower]
    assert len(slower) >= 2 and table.count("**slower**") == len(slower)
    assert len(short) >= 4 and table.count("**short**") == len(short)
    assert all(row.peer_version and row.peer_version in table for _, row in claims)


def test_the_picture_is_of_the_results(tmp_path: Path) -> None:
    picture = tables.PICTURE.read_text(encoding="utf-8")
    assert picture == summary.svg(MACHINE), "python -m benchmarks.tables renews it"
    width = {fill: re.findall(rf'width="([\d.]+)" height="14" fill="{fill}"', picture) for fill in (BLUE, RED)}
    ratios = [row.ratio for _, row in summary.found(MACHINE)[1] if row.ratio is not None]
    assert len(width[RED]) == sum(ratio < 1 for ratio in ratios)
    assert len(width[BLUE]) == sum(ratio >= 1 for ratio in ratios)
    for file in MACHINE.glob("*.json"):
        (tmp_path / file.name).write_text(file.read_text().replace('"ratio": 1.', '"ratio": 2.'))
    assert summary.svg(tmp_path) != picture


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
