"""A comparison drawn: bars in the terminal, or a picture in a file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from pylm.errors import DataError, UsageError
from pylm.wording import param

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pylm.tokenizer.compare import Comparison

__all__ = ["check_picture", "drawn", "save_plot", "tables"]

BAR = 36
GROUPS = 12


def tables(made: Comparison, examples: int) -> list[RenderableType]:
    """Return the numbers as tables: totals first, then the longest and the never-used tokens."""
    from rich.table import Table

    totals = Table(title=f"{made.total_bytes:,} bytes in {made.documents:,} documents", title_justify="left")
    totals.add_column("tokenizer")
    for heading in ("ids", "tokens", "tokens/byte", "bytes/token", "never used", "MB/s"):
        totals.add_column(heading, justify="right", no_wrap=True)
    value = made.as_json(examples)
    for entry in value["tokenizers"]:
        speed = entry["megabytes_per_second"]
        totals.add_row(
            entry["name"],
            f"{entry['vocab_size']:,}",
            f"{entry['tokens']:,}",
            f"{entry['tokens_per_byte']:.4f}",
            f"{entry['bytes_per_token']:.3f}",
            f"{entry['never_used']:,} ({100 * entry['never_used'] / entry['vocab_size']:.1f}%)",
            f"{speed:,.1f}" if speed else "",
        )
    words = Table(title="longest tokens and how often they came; tokens that never did", title_justify="left")
    for heading in ("tokenizer", "longest", "never used"):
        words.add_column(heading, overflow="fold")
    for entry in value["tokenizers"]:
        longest = "\n".join(f"{_quoted(item['token'])} {item['count']:,}" for item in entry["longest"])
        words.add_row(entry["name"], longest, "\n".join(map(_quoted, entry["never_used_examples"])), end_section=True)
    return [totals, words]


def _quoted(text: str) -> str:
    from rich.markup import escape

    return escape(repr(text if len(text) <= 40 else f"{text[:30]}… {len(text)} characters"))


def drawn(made: Comparison) -> RenderableType:
    """Return bytes per token of each group and tokenizer as bars, of which longer ones are better."""
    from rich.table import Table

    value = made.as_json(0)["tokenizers"]
    groups = made.groups()[:GROUPS]
    longest = max(max(entry["bytes_per_token_by_group"].values(), default=1.0) for entry in value)
    bars = Table(title="bytes per token, longer is better", title_justify="left", show_header=False, box=None)
    for group in groups:
        for index, entry in enumerate(value):
            ratio = entry["bytes_per_token_by_group"].get(group, 0.0)
            share = f"{100 * made.bytes[group] / made.total_bytes:.0f}%" if index == 0 else ""
            bars.add_row(
                _short(group) if index == 0 else "", share, entry["name"], f"{ratio:.2f}", _bar(ratio / longest)
            )
        bars.add_row()
    return bars


def _short(group: str) -> str:
    """Return a group's name; of a long path its end, which tells files apart."""
    from rich.markup import escape

    return escape(group if len(group) <= 30 else f"…{group[-29:]}")


def _bar(share: float) -> str:
    eighths = round(share * BAR * 8)
    whole, part = divmod(eighths, 8)
    return "█" * whole + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[part]


def check_picture(path: Path) -> None:
    """Raise, before any work is done, if no picture can be drawn to `path`."""
    if path.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise UsageError(f"{param('plot')} {path}: pictures are .svg, .png or .pdf", "name such a file")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(f"{param('plot')} draws with matplotlib, which is not installed", "pip install matplotlib")


def save_plot(made: Comparison, path: Path) -> None:
    """Write the bars as a picture: svg, png or pdf, by the suffix."""
    from matplotlib.figure import Figure

    value = made.as_json(0)["tokenizers"]
    groups = made.groups()[:GROUPS]
    figure = Figure(figsize=(8, 1.2 + 0.25 * len(groups) * (len(value) + 1)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(value)
    for index, entry in enumerate(value):
        places = [place + index * height for place in range(len(groups))]
        ratios = [entry["bytes_per_token_by_group"].get(group, 0.0) for group in groups]
        bars = axes.barh(places, ratios, height, label=f"{entry['name']} ({entry['vocab_size']:,} ids)")
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=7)
    # names may hold $, which would start mathematics
    names = [(group if len(group) <= 30 else f"…{group[-29:]}").replace("$", r"\$") for group in groups]
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(groups))], names)
    axes.invert_yaxis()
    axes.set_xlabel("bytes per token (more is better)")
    axes.legend()
    try:
        figure.savefig(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {(error.strerror or str(error)).lower()}", None) from None
