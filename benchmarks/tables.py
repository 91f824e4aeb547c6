"""README's tables, written from the committed results: `python -m benchmarks.tables` renews them, a test compares.

A table stands between `<!-- results: MACHINE/SUBJECT -->` and `<!-- end -->`; rows that we lose are in it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.report import Row, cells

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- results: ([\w./-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewritten(page: str, results: Path = ROOT / "benchmarks" / "results") -> str:
    """The page with every table as the results say."""
    return BLOCK.sub(lambda block: block[1] + markdown(results / f"{block[2]}.json") + block[3], page)


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


if __name__ == "__main__":
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "kernels" / "README.md"):
        old = path.read_text(encoding="utf-8")
        if (new := rewritten(old)) != old:
            path.write_text(new, encoding="utf-8")
            print(path.relative_to(ROOT))
