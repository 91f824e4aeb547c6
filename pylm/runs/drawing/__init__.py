"""Curves as pictures: SVG and characters drawn here, PNG by matplotlib, a page by uPlot."""

from pylm.runs.drawing.panel import Line, Panel

__all__ = ["Line", "Panel"]
