"""Panels as PNG, by matplotlib where that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from pylm.errors import UsageError
from pylm.runs.drawing.axes import spelled
from pylm.runs.drawing.panel import FEW, Panel

__all__ = ["png"]

DOTS_AN_INCH = 100


def png(panels: Sequence[Panel], width: int, height: int) -> bytes:
    """Return the panels as one picture of so many pixels, each panel of this height."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter
    except ModuleNotFoundError:
        hint = "pip install matplotlib, or write an .svg, which needs nothing"
        raise UsageError("a PNG is drawn by matplotlib, which is not installed", hint) from None
    size = width / DOTS_AN_INCH, height * len(panels) / DOTS_AN_INCH
    figure = Figure(figsize=size, dpi=DOTS_AN_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        _draw(axes, panel)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: spelled(place)))
    made = BytesIO()
    figure.savefig(made, format="png", metadata={"Software": "pylm"})
    return made.getvalue()


def _draw(axes: Any, panel: Panel) -> None:
    """Draw a panel as the SVG has it."""
    for line in sorted(panel.lines, key=lambda line: not line.faint):
        axes.plot(
            line.x, line.y, color=line.colour, linewidth=1.2, alpha=0.35 if line.faint else 1,
            linestyle="--" if line.dashed else "-", label=None if line.faint else line.label,
            marker="o" if len(line.x) <= FEW and not line.faint else "", markersize=4,
        )  # fmt: skip
        top = axes.get_xaxis_transform()
        axes.plot(line.broken, [1.0] * len(line.broken), "x", color=line.colour, transform=top, clip_on=False)
    for cut in panel.cuts:
        axes.axvline(cut.x, color="#888", linestyle=":", linewidth=1)
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label, yscale="log" if panel.log else "linear")
    axes.grid(axis="y", alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    if panel.named:
        axes.legend(frameon=False, fontsize="small")
