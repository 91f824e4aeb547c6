"""The tables and the picture of the pages, made from the committed results: `python -m benchmarks.tables` renews them.

A table stands between `<!-- results: MACHINE/SUBJECT -->` (a whole file) or `<!-- summary: MACHINE -->` (the claims of
benchmarks/summary.py) and `<!-- end -->`; rows that we lose are in it. A test compares.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks import summary
from benchmarks.report import Row, cells

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- (results|summary): ([\w./-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "kernels" / "README.md")
PICTURE = ROOT / "docs" / "speed.svg"
PICTURED = "amd-epyc-f26-m2-2c"  # whose results the picture shows


def rewritten(page: str, results: Path = RESULTS) -> str:
    """The page with every table as the results say."""

    def table(block: re.Match[str]) -> str:
        place = results / block[3]
        text = summary.markdown(place) if block[2] == "summary" else markdown(place.with_name(f"{place.name}.json"))
        return block[1] + text + block[4]

    return BLOCK.sub(table, page)


def markdown(path: Path) -> str:
    """One result file as a table, the machine in its caption."""
    content = json.loads(path.read_text())
    about = content["machine"]
    lines = [
        f"{about['cpu']}, {about['cores']} cores ({', '.join(about['features'])}); medians, both sides in one run:",
        "",
        "| | ours | peer | version | ratio | rounds | bar | |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in content["rows"]:
        lines.append("| " + " | ".join(cells(Row(**row))) + " |")
    return "\n".join(lines) + "\n"


def renew() -> None:
    """Write every page and the picture whose figures are not those of the results, and name them."""
    new = {page: rewritten(page.read_text(encoding="utf-8")) for page in PAGES}
    new[PICTURE] = summary.svg(RESULTS / PICTURED)
    for path, text in new.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    renew()
