"""report.html: one file that opens without a network, in which nothing of a removed text is more than text.

Every value goes through `shown` and is escaped by jinja. The page's policy allows one style sheet, by its hash, and
nothing else: no script, no picture, no address, even where an escape were forgotten.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.data.cleaning.report import figures
from pylm.data.cleaning.report.content import REPORT, damaged, read
from pylm.data.cleaning.report.crossed import crossed
from pylm.data.cleaning.report.histogram import histogram
from pylm.durable import replace_text

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["PAGE", "write"]

PAGE = "report.html"
HERE = Path(__file__).parent
STAGES = {
    "gopher_repetition": "Gopher repetition",
    "gopher": "Gopher quality",
    "c4": "C4",
    "fineweb": "FineWeb",
    "exact": "exact duplicates",
    "near": "near-duplicates",
    "url": "addresses",
    "contamination": "test items",
}


def write(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the page of a cleaned folder's report.json, the same bytes for the same report, and return its path.

    Args:
        folder: What was cleaned.
        out: The file; `report.html` in the folder if not given.
    """
    path = Path(folder, PAGE) if out is None else Path(out)
    text = _rendered(read(folder), Path(folder, REPORT))
    replace_text(path, text, path.with_name(f".{path.name}.part"))
    return path


def _rendered(report: dict[str, Any], path: Path) -> str:
    from jinja2 import UndefinedError

    try:
        pictures = [(one, histogram(one)) for one in report["measures"] if any(one["counts"])]
        return _template().render(
            report=report,
            gone=[one for one in report["reasons"] if one["documents"]],
            idle=[one for one in report["reasons"] if not one["documents"]],
            by_source=crossed(report["sources"], "name", report["reasons"], "sources"),
            by_language=crossed(report["languages"], "language", report["reasons"], "languages"),
            cutting=[(one, picture) for one, picture in pictures if picture.removed],
            sparing=[(one, picture) for one, picture in pictures if not picture.removed],
            settings=json.dumps(report.get("settings") or {}, indent=2, ensure_ascii=False),
        )
    except (UndefinedError, KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise damaged(path, what) from None


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from pylm.config.units import format_bytes

    style = (HERE / "page.css").read_text(encoding="utf-8")
    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=figures.shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for filter_ in (figures.count, figures.percent, figures.rule, figures.share, figures.tint, figures.value):
        made.filters[filter_.__name__] = filter_
    made.filters.update(bytes=format_bytes, things=figures.named)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    made.globals.update(style=Markup(style), style_hash=digest, stages=STAGES)
    return made.get_template("page.html")
