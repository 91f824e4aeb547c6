"""The curves of a run as it went in the end, with the places where it was resumed and what was taken back there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from pylm._rust import Metrics
from pylm.errors import DataError, UsageError, did_you_mean
from pylm.runs.differing import environment
from pylm.runs.lines import read_lines
from pylm.runs.readers.logged import Logged, ours

__all__ = ["AXES", "EVALUATED", "Curve", "History"]

AXES = {"steps": "step", "tokens": "tokens", "time": "seconds", "flops": "tokens"}
# figures of evaluations, which are few and are never smoothed
EVALUATED = {
    *("val_loss", "average_val_loss", "perplexity", "accuracy", "bits_per_byte", "bits_per_byte_with_eot"),
}
POSITIONS = {*AXES.values(), "progress"}


class Curve(NamedTuple):
    """Points to draw, in order; a y that is not finite breaks the line."""

    x: list[float]
    y: list[float]

    @property
    def broken(self) -> list[float]:
        """The places at which the run wrote down no finite number."""
        return [x for x, y in zip(self.x, self.y, strict=True) if not math.isfinite(y)]


class History:
    """What a run wrote down of its steps and evaluations, read once; `refresh` reads on where it goes on."""

    def __init__(self, run: Path | Logged) -> None:
        """Read the lines of a run's folder, or another tool's; it is an error where there are none yet."""
        self._logged = run if isinstance(run, Logged) else None
        if isinstance(run, Logged):
            self.run, self.metrics = run.path, run.metrics()
            return
        self.run = run
        path = run / "metrics.jsonl"
        if not path.is_file():
            raise DataError(f"{run} has no metrics.jsonl yet", "its first line comes with its first steps")
        self.metrics = Metrics(path)

    def refresh(self) -> bool:
        """Read what was added since; True where there was something."""
        return self.metrics.refresh()

    @property
    def keys(self) -> list[str]:
        """Return the names of what can be drawn."""
        return [key for key in self.metrics.keys if key not in POSITIONS]

    def named(self, metric: str) -> str:
        """Return our name of a metric that was named as another tool does; the name itself where that is one here."""
        return metric if metric in self.keys or ours(metric) not in self.keys else ours(metric)

    def check(self, metric: str) -> str:
        """Return the name of a metric; it is an error, with the nearest, where the run has none of that name."""
        if metric in self.keys:
            return metric
        hint = did_you_mean(metric, self.keys) or f"it has {', '.join(self.keys)}"
        raise UsageError(f"{self.run} has no metric {metric}", hint)

    def curve(self, metric: str, x: str = "steps", *, columns: int, smooth: float = 0.0, gone: bool = False) -> Curve:
        """Return what is drawn of a metric at so many columns of pixels: every spike of one step is in it."""
        keep = 0.0 if metric in EVALUATED else smooth
        scale = self.scale(x)
        xs, ys = self.metrics.curve(metric, AXES[x], columns=columns, smooth=keep, gone=gone)
        return Curve([at * scale for at in xs] if scale != 1 else xs, ys)

    def taken_back(self, metric: str, x: str, columns: int) -> list[Curve]:
        """Return what the run had gone through before it was resumed from an earlier step."""
        curves = [self.curve(metric, x, columns=columns, gone=True)] if self.metrics.cuts else []
        axis, scale = AXES[x], self.scale(x)
        for resume in self._resumes():
            points = [
                (line[axis] * scale, math.nan if line[metric] is None else line[metric])
                for line in resume.get("removed", ())
                if metric in line and isinstance(line.get(axis), (int, float))
            ]
            curves.append(Curve([at for at, _ in points], [y for _, y in points]))
        return [curve for curve in curves if curve.x]

    def cuts(self, x: str = "steps") -> list[float]:
        """Return the places at which the run was resumed."""
        steps = [float(resume["step"]) for resume in self._resumes() if resume.get("step")]
        steps = sorted({*steps, *self.metrics.cuts})
        if x == "steps" or not steps:
            return steps
        scale = self.scale(x)
        return [at * scale for at in self.metrics.at(AXES[x], "step", steps) if math.isfinite(at)]

    def _resumes(self) -> list[dict[str, Any]]:
        return read_lines(self.run / "resumes.jsonl") if self._logged is None else self._logged.resumes

    def last(self, metric: str) -> float | None:
        """Return the last finite value; None where there is none."""
        _, ys = self.metrics.curve(metric, "step", columns=1 << 16)
        return next((y for y in reversed(ys) if math.isfinite(y)), None)

    def lowest(self, metric: str) -> tuple[int, float] | None:
        """Return the step of the lowest value, and the value."""
        xs, ys = self.metrics.curve(metric, "step", columns=1)
        finite = [(y, x) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
        return (int(min(finite)[1]), min(finite)[0]) if finite else None

    def has_axis(self, x: str) -> bool:
        """Say whether the run wrote down how far it had come on an axis."""
        return AXES[x] in self.metrics.keys

    def end(self, x: str = "steps") -> float:
        """Return how far the run has come on an axis."""
        places = self.metrics.curve(AXES[x], "step", columns=1)[1]
        return (places[-1] if places else 0.0) * self.scale(x)

    def phases(self) -> dict[str, float]:
        """Return the seconds that went into each phase, by name."""
        names = [key for key in self.metrics.keys if key.startswith("phase.")]
        return {key.removeprefix("phase."): self.metrics.sums(key, "step", 1, 0.0, 0.0)[0] for key in names}

    def scale(self, x: str) -> float:
        """Return what a place of metrics.jsonl is multiplied with: tokens become FLOPs."""
        if self._logged is not None and not self.has_axis(x):
            raise UsageError(f"{self.run} kept no {x}", "draw it over steps")
        if x != "flops":
            return 1.0
        each = environment(self.run).get("flops_per_token")
        if not isinstance(each, (int, float)):
            raise UsageError(f"{self.run} kept no FLOPs of a token", "draw it over tokens")
        return float(each)
