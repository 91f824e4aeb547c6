"""One page about a run: what it reached and how, on which data, by which command; a function of its folder alone."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pylm.runs.differing import Value, configuration, environment
from pylm.runs.drawing.page import document, packaged
from pylm.runs.drawing.stacked import stacked
from pylm.runs.drawing.svg import svg
from pylm.runs.finding import find_runs, runs_of
from pylm.runs.history import History
from pylm.runs.lines import read_lines
from pylm.runs.listing import standing
from pylm.runs.plot import panels_of, write_picture
from pylm.runs.redacted import redacted
from pylm.runs.summary import evaluations, summary
from pylm.runs.terminal import printable
from pylm.wording import call, in_options

__all__ = ["report"]

CHARTS = ("loss", "val_loss", "lr", "grad_norm", "tokens_per_second")
COLUMNS, WIDTH, HEIGHT = 1000, 1084, 300
STRETCHES = 120  # of the picture of phases, at most
SAMPLES = 40  # steps whose samples are shown, spread over the run
INCIDENTS = 50
LETTERS = 2000  # of a text


def report(run: str | Path | None = None, out: str | Path | None = None, redact: bool = False) -> Path:
    """Write the page of a run and return its path.

    Args:
        run: Its folder or name; the newest if not given.
        out: The file; `report.html` in the run's folder if not given.
        redact: Leave out user names, the machine's name, the folders of paths and texts of the data.
    """
    folder = find_runs([] if run is None else [run])[0]
    path = folder / "report.html" if out is None else Path(out)
    write_picture(path, _page(folder, redact).encode())
    return path


def _page(run: Path, redact: bool) -> str:
    from jinja2 import Environment, StrictUndefined

    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(packaged("report.html"))
    content = _content(run)
    if redact:
        content = {
            **_redacted(content),
            "incidents": [{**one, "documents": [], "why": one["why"] and "…"} for one in content["incidents"]],
        }
    body = template.render(**content, **_pictures(run))
    return document(
        f"{content['name']}: a run of pylm",
        body,
        [packaged("page.css"), packaged("report.css")],
        [packaged("report.js")],
    )


def _redacted(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page says without names and paths; what the model wrote is its own."""
    return {key: value if key == "samples" else redacted(value) for key, value in content.items()}


def _content(run: Path) -> dict[str, Any]:
    """Return what the page says, as plain values."""
    noted = environment(run)
    samples = _spread(_by_step(read_lines(run / "samples.jsonl")), SAMPLES)
    incidents = [{"documents": [], "why": None, **one} for one in read_lines(run / "incidents.jsonl")]
    return {
        "name": run.name,
        "facts": summary(run),
        "config": _shown(configuration(run)) if (run / "config.yaml").is_file() else [],
        "environment": {**noted.get("choices", {}), "python": noted.get("python")},
        "changed": _changed(run, noted),
        "samples": samples,
        "incidents": incidents[:INCIDENTS],
        "incidents_in_all": len(incidents),
        "evaluations": [{"task": task, "metric": metric, **one} for (task, metric), one in evaluations(run).items()],
        "resumes": [{"step": one.get("step"), "time": one.get("time"), "removed": len(one.get("removed", ()))}
                    for one in read_lines(run / "resumes.jsonl")],
        "repeat": _repeat(run, noted),
    }  # fmt: skip


def _shown(config: Mapping[str, Value]) -> list[tuple[str, str, str]]:
    """Return keys, values and origins, what somebody gave before the defaults."""
    rows = [(key, str(one.value), one.origin) for key, one in config.items()]
    return sorted(rows, key=lambda row: (row[2] == "default", row[0].partition(".")[0]))


def _repeat(run: Path, noted: Mapping[str, Any]) -> str:
    """Return the command that makes the run again."""
    if words := noted.get("argv"):
        return f"pylm {shlex.join(map(str, words))}"
    return in_options(call("train", config=run / "config.yaml"))


def _changed(run: Path, noted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the machine is not as it was for the run before in the same folder; nothing where none was."""
    here = standing(run).written or 0.0
    before = [(one.written, one.path) for one in map(standing, runs_of(run.parent)) if one.path != run and one.written]
    before = [pair for pair in before if pair[0] is not None and pair[0] < here]
    if not before:
        return {}
    earlier = max(before)[1]
    old, new = ({**each.get("choices", {}), "python": each.get("python")} for each in (environment(earlier), noted))
    rows = [(key, old.get(key), new.get(key)) for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return {"run": earlier.name, "rows": rows}


def _by_step(records: Sequence[Mapping[str, Any]]) -> list[tuple[int, list[dict[str, str]]]]:
    """Return what the model wrote at each step."""
    steps: dict[int, list[dict[str, str]]] = {}
    for one in records:
        texts = {key: printable(str(one.get(key, ""))[:LETTERS]) for key in ("prompt", "text")}
        steps.setdefault(int(one.get("step", 0)), []).append(texts)
    return sorted(steps.items())


def _spread(items: list[Any], most: int) -> list[Any]:
    """Return at most so many, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[number * (len(items) - 1) // (most - 1)] for number in range(most)]


def _pictures(run: Path) -> dict[str, str]:
    """Return the curves and the picture of phases as SVG."""
    if not (run / "metrics.jsonl").is_file():
        return {"curves": "", "phases": ""}
    history = History(run)
    metrics = [metric for metric in CHARTS if metric in history.keys]
    panels = panels_of([history], metrics, columns=COLUMNS) if metrics else []
    curves = "".join(svg([panel], WIDTH, HEIGHT, within_page=True) for panel in panels)
    names, span = list(history.phases()), history.metrics.range("step")
    if not names or span is None or span[0] == span[1]:
        return {"curves": curves, "phases": ""}
    written = len(history.metrics.curve(f"phase.{names[0]}", columns=STRETCHES)[0])
    stretches = max(min(STRETCHES, written // 2), 1)  # each has a line in it
    parts = {name: history.metrics.sums(f"phase.{name}", "step", stretches, *span) for name in names}
    return {"curves": curves, "phases": stacked(parts, *span, "the share of each phase in the time of training")}
