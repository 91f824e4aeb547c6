"""Pictures of runs: their losses at the end of a training, and any metric over any axis."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pylm.errors import DataError, UsageError
from pylm.runs.drawing.axes import ticks
from pylm.runs.drawing.characters import labelled
from pylm.runs.drawing.panel import COLOURS, Line, Panel, Spot
from pylm.runs.drawing.svg import MARGIN, RIGHT
from pylm.runs.drawing.svg import svg as draw_svg
from pylm.runs.history import AXES, EVALUATED, History
from pylm.runs.readers.logged import Logged
from pylm.runs.readers.opening import open_runs
from pylm.wording import param

__all__ = ["FORMATS", "losses", "panels_of", "plot", "svg", "terminal", "ticks", "write_picture"]

Points = list[tuple[float, float]]

LABELS = {"loss": "training", "val_loss": "validation"}
ALONE = {"loss": "#7aa6c2", "val_loss": "#c0392b"}
LOSSES = ("loss", "val_loss", "average_val_loss")  # nats a token: over the same axis
FORMATS = ("svg", "png", "html")
WIDTH, HEIGHT = 1200, 400
UNITS = ((7200, 3600, "hours"), (120, 60, "minutes"), (0, 1, "seconds"))  # from so many seconds on


def losses(run: Path) -> dict[str, Points]:
    """Return the training and validation losses of a run, each as (step, loss)."""
    path = run / "metrics.jsonl"
    curves = {key: History(run).curve(key, columns=WIDTH) for key in LABELS} if path.exists() else {}
    found = {key: [(x, y) for x, y in zip(*curve, strict=True) if math.isfinite(y)] for key, curve in curves.items()}
    if not any(found.values()):
        raise DataError(f"{path} holds no loss", "pylm train writes it as it goes")
    return {key: points for key, points in found.items() if points}


def terminal(points: Points, columns: int = 72, rows: int = 12) -> str:
    """Return one curve in Braille dots, with the loss at the side and the steps below."""
    return labelled(_panel({"loss": points}, ""), columns, rows)


def svg(curves: Mapping[str, Points], title: str, width: int = 720, height: int = 360) -> str:
    """Return the curves of a run as an SVG picture; few points are dots too."""
    return draw_svg([_panel(curves, title)], width, height)


def _panel(curves: Mapping[str, Points], title: str) -> Panel:
    lines = [
        Line(
            LABELS.get(name, name),
            [x for x, _ in points],
            [y for _, y in points],
            ALONE.get(name, COLOURS[number % len(COLOURS)]),
        )
        for number, (name, points) in enumerate(curves.items())
    ]
    return Panel(title, lines, y_label="loss", whole=True)


def plot(
    runs: str | Path | Sequence[str | Path] = (),
    metrics: Sequence[str] = ("loss", "val_loss"),
    x: str = "steps",
    smooth: float = 0.0,
    log: bool = False,
    out: str | Path | None = None,
) -> Path:
    """Draw metrics of runs over one another into a file, and return its path.

    Args:
        runs: Folders or names, or runs of other tools (`wandb:ID`, `tb:DIR`, `trackio:PROJECT`, a CSV file); the
            newest run if none is named.
        metrics: Names of metrics.jsonl; the losses share a picture, each other one has its own.
        x: `steps`, `tokens`, `time` or `flops`; of CSV files also the column that says of which step a row is.
        smooth: How much of the average each point keeps, from 0 (none) to below 1; figures of evaluations never are.
        log: Whether the values' axis is logarithmic.
        out: An .svg, .png or .html; `loss.svg` in the run's folder if not given, `plot.svg` here for several.
    """
    named = [runs] if isinstance(runs, (str, Path)) else list(runs)
    column = None if x in AXES else x
    opened = open_runs(named, column)
    if column is not None and not all(isinstance(one, Logged) and one.is_table for one in opened):
        raise UsageError(f"{x} is no axis", f"there are {', '.join(AXES)}")
    path = Path(out) if out is not None else _beside(opened)
    form = path.suffix.lower().lstrip(".")
    if form not in FORMATS:
        raise UsageError(f"{path} is none of {', '.join(FORMATS)}", f"such as {param('out', 'loss.svg')}")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}", "make it, or name another")
    histories, over = list(map(History, opened)), "steps" if column else x
    panels = panels_of(histories, metrics, over, smooth, log, columns=WIDTH - MARGIN - RIGHT)
    write_picture(path, _as(form, panels))
    return path


def _beside(opened: Sequence[Path | Logged]) -> Path:
    """Return where a picture goes that nobody gave a name: one run's into its folder."""
    alone = opened[0] if len(opened) == 1 else None
    return alone / "loss.svg" if isinstance(alone, Path) else Path("plot.svg")


def write_picture(path: Path, content: bytes) -> None:
    """Write a file whole, or say why it cannot be."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot write {path}: {reason}", f"name another with {param('out')}") from None


def _as(form: str, panels: Sequence[Panel]) -> bytes:
    if form == "png":
        from pylm.runs.drawing.png import png

        return png(panels, WIDTH, HEIGHT)
    if form == "html":
        from pylm.runs.drawing.page import page

        return page(panels).encode()
    return draw_svg(panels, WIDTH, HEIGHT).encode()


def panels_of(
    histories: Sequence[History],
    metrics: Sequence[str],
    x: str = "steps",
    smooth: float = 0.0,
    log: bool = False,
    *,
    columns: int,
) -> list[Panel]:
    """Return a panel for the losses and for each other metric, with the lines of every run that has it."""
    if x not in AXES:
        raise UsageError(f"{x} is no axis", f"there are {', '.join(AXES)}")
    if not 0 <= smooth < 1:
        raise UsageError(f"smooth={smooth:g} keeps no average", "from 0, which is none, to below 1, such as 0.9")
    metrics = list(dict.fromkeys(_named(histories, metric) for metric in metrics))
    for metric in metrics:
        _check(histories, metric)
    unit, name = _unit(histories, x)
    together = [metric for metric in metrics if metric in LOSSES]
    groups = ([together] if together else []) + [[metric] for metric in metrics if metric not in LOSSES]
    names = _names(histories)
    cuts = [Spot(at / unit, f"{before}resumed here") for one, before in zip(histories, names, strict=True)
            for at in one.cuts(x)]  # fmt: skip
    return [
        Panel(
            f"{' and '.join(group)} over {x}",
            [line for number, one in enumerate(histories)
             for line in _lines(one, group, x, smooth, columns, unit, number, names[number])],
            name, group[0] if group[0] not in LOSSES else "loss", cuts, whole=x in ("steps", "tokens"), log=log,
        )
        for group in groups
    ]  # fmt: skip


def _named(histories: Sequence[History], metric: str) -> str:
    """Return a metric as it is named here, where it was named as another tool does."""
    return next((name for one in histories if (name := one.named(metric)) in one.keys), metric)


def _check(histories: Sequence[History], metric: str) -> None:
    """Refuse a metric that no run has; the losses of evaluations may be missing from some."""
    if not any(metric in one.keys for one in histories) and metric != "val_loss":
        histories[0].check(metric)


def _unit(histories: Sequence[History], x: str) -> tuple[float, str]:
    """Return what places are divided by, and the name of the axis."""
    if x != "time":
        return 1.0, {"steps": "step", "flops": "FLOPs"}.get(x, x)
    longest = max(one.end(x) for one in histories)
    return next((float(size), f"time in {name}") for least, size, name in UNITS if longest >= least)


def _names(histories: Sequence[History]) -> list[str]:
    """Return what stands before the labels of each run: nothing of one alone, the folder of those of one name."""
    if len(histories) == 1:
        return [""]
    names = [one.run.name for one in histories]
    return [f"{one.run if names.count(one.run.name) > 1 else one.run.name} " for one in histories]


def _lines(
    history: History, group: Sequence[str], x: str, smooth: float, columns: int, unit: float, number: int, name: str
) -> list[Line]:
    """Return the lines of a run in a panel: its curves, what lies behind smoothed ones, and what was taken back."""
    lines = []
    for metric in group:
        label = f"{name}{LABELS.get(metric, metric)}"
        colour = COLOURS[number % len(COLOURS)] if name else ALONE.get(metric, COLOURS[group.index(metric)])
        dashed = bool(name) and metric in EVALUATED and len(group) > 1
        behind = history.taken_back(metric, x, columns)
        if smooth and metric not in EVALUATED:
            behind.append(history.curve(metric, x, columns=columns))
        curve = history.curve(metric, x, columns=columns, smooth=smooth)
        lines += [Line(label, [at / unit for at in one.x], one.y, colour, faint=True) for one in behind]
        if curve.x:
            lines.append(Line(label, [at / unit for at in curve.x], curve.y, colour, dashed=dashed))
    return lines
