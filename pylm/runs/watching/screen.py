"""A terminal's screen full: curves of the runs, and where one of them stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pylm.config.units import counted
from pylm.errors import UsageError
from pylm.runs.drawing.axes import spelled
from pylm.runs.drawing.characters import canvas
from pylm.runs.drawing.panel import Line, Panel
from pylm.runs.history import AXES
from pylm.runs.plot import UNITS
from pylm.runs.terminal import printable
from pylm.runs.watching.watched import SMOOTH, Watched

__all__ = ["Settings", "screen"]

SIDE = 9  # columns of the values beside the curves
INKS = (34, 31, 32, 35, 33, 36)  # of a terminal: blue, red, green, magenta, yellow, cyan
LEAST_ROWS = 4
KEYS = "l log  x axis  / filter  tab next run  q quit"


@dataclass
class Settings:
    """What whoever watches has asked for."""

    x: str = "steps"
    log: bool = False
    filter: str = ""
    typing: bool = False  # a filter is being typed
    focus: int = 0

    def press(self, key: str, runs: int) -> bool:
        """Take a key; False where it says to leave."""
        if self.typing:
            self._type(key)
        elif key in ("q", "\x03"):
            return False
        elif key == "l":
            self.log = not self.log
        elif key == "x":
            axes = list(AXES)
            self.x = axes[(axes.index(self.x) + 1) % len(axes)]
        elif key == "/":
            self.typing, self.filter = True, ""
        elif key == "\t" and runs:
            self.focus = (self.focus + 1) % runs
        return True

    def _type(self, key: str) -> None:
        if key in ("\r", "\n", "\x1b"):
            self.typing = False
            self.filter = "" if key == "\x1b" else self.filter
        elif key in ("\x7f", "\b"):
            self.filter = self.filter[:-1]
        elif key.isprintable():
            self.filter += key


def screen(
    runs: Sequence[Watched], settings: Settings, columns: int, rows: int, *, plain: bool = False, colour: bool = True
) -> list[str]:
    """Return the lines of a screen, none longer than it is wide.

    Args:
        runs: What is watched; those whose names lack the filter are left out.
        settings: The axes and the filter.
        columns: Of the screen.
        rows: Of the screen.
        plain: Whether only ASCII can be shown.
        colour: Whether the terminal wants colours.
    """
    shown = [run for run in runs if settings.filter in run.run.name] or list(runs)
    focus = shown[settings.focus % len(shown)]
    below = [*_stands(focus, columns), *_texts(focus, columns, plain), _keys(settings)[:columns]]
    height = max(rows - len(below) - 3, LEAST_ROWS)
    panel = _panel(shown, settings)
    lines = [_title(panel, shown, settings)[:columns], *_curves(panel, columns, height, plain, colour), *below]
    return lines[:rows]


def _panel(runs: Sequence[Watched], settings: Settings) -> Panel:
    """Return the losses; of a run alone the raw ones too, below the smoothed ones."""
    lines = []
    unit, label = 1.0, {"steps": "step", "flops": "FLOPs"}.get(settings.x, settings.x)
    started = [run for run in runs if run.history is not None]
    if settings.x == "time":
        longest = max((run.history.end("time") for run in started if run.history), default=0.0)
        unit, label = next((float(size), f"time in {name}") for least, size, name in UNITS if longest >= least)
    for run in started:
        for smooth in (0.0, SMOOTH) if len(runs) == 1 else (SMOOTH,):
            try:
                curve = run.curve(settings.x, smooth)
            except UsageError:  # it kept no FLOPs of a token
                continue
            if curve.x:
                lines.append(Line(run.run.name, [x / unit for x in curve.x], curve.y))
    return Panel("loss", lines, label, whole=settings.x in ("steps", "tokens"), log=settings.log)


def _title(panel: Panel, runs: Sequence[Watched], settings: Settings) -> str:
    names = ", ".join(run.run.name for run in runs)
    return printable(f"loss over {panel.x_label}{' (log)' if settings.log else ''}: {names}")


def _curves(panel: Panel, columns: int, rows: int, plain: bool, colour: bool) -> list[str]:
    """Return the curves with values at the side and places below."""
    width = max(columns - SIDE, 8)
    if not panel.lines:
        return ["nothing was drawn yet".center(columns)[:columns].rstrip(), *[""] * rows]
    (left, right), (low, high) = panel.bounds()
    names = list(dict.fromkeys(line.label for line in panel.lines))
    lines = []
    for row, cells in enumerate(canvas(panel, width, rows, plain)):
        share = row / max(rows - 1, 1)
        value = high * (low / high) ** share if panel.log else high - (high - low) * share
        side = f"{value:7.3g} {'|' if plain else '┤'}"
        if colour:
            lines.append(side + "".join(_inked(character, names, panel, number) for character, number in cells))
        else:
            lines.append((side + "".join(character for character, _ in cells)).rstrip())
    first, last = spelled(float(f"{left:.4g}")), spelled(float(f"{right:.4g}"))
    lines.append(f"{'':{SIDE - 1}}{'+' if plain else '└'}{first}{last:>{width - len(first)}}"[:columns])
    return lines


def _inked(character: str, names: list[str], panel: Panel, number: int) -> str:
    """Return a character in the colour of its run; of a run alone the raw curve is dim."""
    if number < 0:
        return character
    ink = INKS[names.index(panel.lines[number].label) % len(INKS)]
    dim = len(names) == 1 and number == 0 and len(panel.lines) > 1
    return f"\x1b[{'2;' if dim else ''}{ink}m{character}\x1b[0m"


def _stands(run: Watched, columns: int) -> list[str]:
    """Return where a run stands: its parts on as many lines as they take, two at most."""
    lines = [run.run.name]
    for part in run.figures():
        if len(lines[-1]) + 2 + len(part) > columns and len(lines) < 2:
            lines.append("  " + part)
        else:
            lines[-1] += f"  {part}"
    phases = run.phases()
    return [printable(line)[:columns] for line in [*lines, *([f"time  {phases}"] if phases else [])]]


def _texts(run: Watched, columns: int, plain: bool) -> list[str]:
    """Return the last sample and the last incident, a line each."""
    lines = []
    if run.samples:
        last = run.samples[-1]
        lines.append(
            f"wrote at step {last.get('step')}: {last.get('prompt', '')}{last.get('text', '')}".replace("\n", " ")
        )
    if run.incidents:
        last = run.incidents[-1]
        many = counted(len(run.incidents), "incident")
        lines.append(f"{many}, the last at step {last.get('step')}: {last.get('kind')}")
    shown = [printable(line)[:columns] for line in lines]
    return [line.encode("ascii", "replace").decode() for line in shown] if plain else shown


def _keys(settings: Settings) -> str:
    return f"runs with: {settings.filter}_" if settings.typing else KEYS
