"""Panels as one page that opens without a network: uPlot, whose notice stays with it, draws what the page holds.

The page's policy allows the scripts and the style sheet that are in it, by their hashes, and no address.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from pylm.runs.drawing.panel import Line, Panel

__all__ = ["data_of", "document", "packaged", "page", "plain", "uplot"]

HERE = Path(__file__).parent


def page(panels: Sequence[Panel]) -> str:
    """Return the page of some panels."""
    title = "; ".join(panel.title for panel in panels)
    data = data_of("panels", [plain(panel) for panel in panels])
    body = f'<main><h1 class="unseen">{escape(title)}</h1><div id="charts"></div></main>{data}'
    styles, script = uplot()
    return document(title, body, styles, [script, packaged("page.js")])


def uplot() -> tuple[list[str], str]:
    """Return the styles and the script of a page of charts, with uPlot's notice."""
    script = f"/*\n{packaged('uplot.LICENSE')}*/\n{packaged('uplot.min.js')}"
    return [packaged("uplot.min.css"), packaged("page.css")], script


def document(title: str, body: str, styles: Sequence[str], scripts: Sequence[str] = (), connect: str = "'none'") -> str:
    """Return an HTML document that allows nothing but what is in it."""
    policy = f"default-src 'none'; style-src {_hashes(styles)}; script-src {_hashes(scripts)}; connect-src {connect}; "
    lines = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}base-uri 'none'; form-action 'none'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        *(f"<style>{style}</style>" for style in styles),
        f"</head><body>\n{body}",
        *(f"<script>{script}</script>" for script in scripts),
        "</body></html>\n",
    ]
    return "\n".join(lines)


def data_of(name: str, value: Any) -> str:
    """Return a value as an element that the page's script reads; nothing in it ends the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f'<script type="application/json" id="{name}">{text.replace("<", chr(92) + "u003c")}</script>'


def plain(panel: Panel) -> dict[str, Any]:
    """Return a panel as the script takes it."""
    return {
        "title": panel.title,
        "x": panel.x_label,
        "log": panel.log,
        "cuts": [[cut.x, cut.text] for cut in panel.cuts],
        "lines": [_line(line) for line in panel.lines],
    }


def _line(line: Line) -> dict[str, Any]:
    ys = [float(f"{y:.7g}") if math.isfinite(y) else None for y in line.y]
    look = {"label": line.label, "colour": line.colour, "faint": line.faint, "dashed": line.dashed}
    return {**look, "data": [[float(f"{x:.9g}") for x in line.x], ys], "broken": line.broken}


def packaged(name: str) -> str:
    """Return a file that lies beside this one."""
    return (HERE / name).read_text(encoding="utf-8")


def _hashes(texts: Sequence[str]) -> str:
    found = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    return " ".join(f"'sha256-{each}'" for each in found) or "'none'"
