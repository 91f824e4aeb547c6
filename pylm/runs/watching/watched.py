"""What is shown of a run that goes on, read from its folder a little at a time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pylm.config.units import format_bytes, format_count, format_duration
from pylm.errors import DataError
from pylm.runs.differing import environment
from pylm.runs.history import Curve, History
from pylm.runs.lines import read_lines
from pylm.runs.listing import Standing, last_record, state_of

__all__ = ["SHARE", "SMOOTH", "Watched"]

SMOOTH = 0.95
SHARE = 0.005  # of a core, at most, goes into showing what is new: a million lines are drawn in a tenth of a second
COLUMNS = 512
GROWN = 1.01  # times the lines, from which on the phases are summed again: their shares change slowly


class Watched:
    """A run that is looked at again and again; where nothing was added, a look costs next to nothing."""

    def __init__(self, run: Path) -> None:
        """Look at a run for the first time; one that has no lines yet is waited for."""
        self.run = run
        self.history: History | None = None
        self.stands = Standing(run, "", None, *[None] * 7)
        self.version = 0  # of what is known: it grows with each line
        self._step: dict[str, Any] = {}
        self._curves: dict[tuple[str, float], Curve] = {}  # of this version
        self._phases: tuple[int, dict[str, float]] = (0, {})  # of how many lines
        self._sizes: dict[str, int] = {}
        self._texts: dict[str, list[dict[str, Any]]] = {"samples.jsonl": [], "incidents.jsonl": []}
        self.length: dict[str, Any] = environment(run).get("length") or {}
        self.look()

    def look(self) -> bool:
        """Read what was added since the last look; True where there was something, or its state is another."""
        if self.history is None:
            fresh = (self.run / "metrics.jsonl").is_file()
            self.history = History(self.run) if fresh else None
        else:
            fresh = self.history.refresh()
        for name in self._texts:
            fresh = self._read(name) or fresh
        state = state_of(self.run)
        fresh = fresh or state != (self.stands.state, self.stands.why)
        if fresh:
            self.stands = self._standing(*state)
            self._curves = {}
        self.version += fresh
        return fresh

    def _standing(self, state: str, why: str | None) -> Standing:
        """Return where it stands, from what was read: a long file is not searched again at each look."""
        one = self.history
        if one is None:
            return Standing(self.run, state, why, *[None] * 7)
        path = self.run / "metrics.jsonl"
        self._step = last_record(path, "loss")  # the columns of a million lines take 40 ms each
        evaluated = last_record(path, "val_loss") if "val_loss" in one.keys else {}
        step, tokens, seconds, loss = (self._step.get(key) for key in ("step", "tokens", "seconds", "loss"))
        loss = one.last("loss") if loss is None else loss  # of a step that was not finite the last that was
        val_loss, bits = (evaluated.get(key) for key in ("val_loss", "bits_per_byte"))
        return Standing(self.run, state, why, step, tokens, seconds, loss, val_loss, bits, None)

    @property
    def goes_on(self) -> bool:
        """Whether a process trains it."""
        return self.stands.state == "training"

    @property
    def samples(self) -> list[dict[str, Any]]:
        """What it wrote on its way."""
        return self._texts["samples.jsonl"]

    @property
    def incidents(self) -> list[dict[str, Any]]:
        """Steps that were skipped, losses that jumped."""
        return self._texts["incidents.jsonl"]

    def figures(self) -> list[str]:
        """Return where it stands, in parts that a line may be broken between."""
        stands, last = self.stands, self._step.get
        of = f"/{self.length['steps']:,}" if self.length.get("steps") else ""
        parts = [stands.state if stands.why is None else f"finished: {stands.why}"]
        parts += [f"step {stands.step:,}{of}"] if stands.step is not None else []
        parts += [f"loss {stands.loss:.4f}"] if stands.loss is not None else []
        smoothed = self._smoothed()
        parts += [f"smoothed {smoothed:.4f}"] if smoothed is not None else []
        parts += [f"val loss {stands.val_loss:.4f}"] if stands.val_loss is not None else []
        if speed := last("tokens_per_second"):
            parts.append(f"{format_count(speed)} tokens/s")
        if mfu := last("mfu"):
            parts.append(f"{mfu:.0%} of matmul peak")
        if memory := last("memory"):
            parts.append(format_bytes(memory))
        left = _left(stands, self.length)
        return [*parts, f"{format_duration(left)} left"] if left is not None and self.goes_on else parts

    def phases(self) -> str:
        """Return where its time went, in one line."""
        lines = self.history.metrics.lines if self.history else 0
        if self.history and (lines > GROWN * self._phases[0] or lines < self._phases[0]):
            self._phases = lines, self.history.phases()
        seconds = self._phases[1]
        whole = sum(seconds.values())
        parts = sorted(seconds.items(), key=lambda part: -part[1])
        return "  ".join(f"{name} {part / whole:.0%}" for name, part in parts) if whole else ""

    def _smoothed(self) -> float | None:
        ys = [] if self.history is None else self.curve("steps", SMOOTH).y
        return next((y for y in reversed(ys) if math.isfinite(y)), None)

    def curve(self, x: str, smooth: float) -> Curve:
        """Return what a screen draws of the loss, made once of what is known; it is an error before there is a line."""
        if self.history is None:
            raise DataError(f"{self.run} has no metrics.jsonl yet", "its first line comes with its first steps")
        if (x, smooth) not in self._curves:
            self._curves[x, smooth] = self.history.curve("loss", x, columns=COLUMNS, smooth=smooth)
        return self._curves[x, smooth]

    def _read(self, name: str) -> bool:
        """Read a file of lines anew where it has another size."""
        path = self.run / name
        size = path.stat().st_size if path.exists() else 0
        if size == self._sizes.get(name, 0):
            return False
        self._sizes[name] = size
        self._texts[name] = read_lines(path)
        return True


def _left(stands: Standing, length: dict[str, Any]) -> float | None:
    """Return the seconds that a run still takes, by its time or at the pace that it had; None where nobody knows."""
    if not stands.step or not stands.seconds:
        return None
    if length.get("seconds"):
        return max(float(length["seconds"]) - stands.seconds, 0.0)
    if length.get("steps"):
        return max((float(length["steps"]) - stands.step) * stands.seconds / stands.step, 0.0)
    return None
