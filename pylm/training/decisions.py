"""What the clock decided of a run, in the order in which it did: from this record alone, every step's rate follows.

One process looks at the clock (`pylm.training.timekeeper`) and adds to the record; whoever is given the same segments
takes the same steps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Decisions", "Segment"]


class Segment(NamedTuple):
    """From a step on, what is left of the run is shared evenly by the steps before `end`."""

    step: int
    done: float  # the share of the run that lies before this step
    end: int  # how many steps the run has, as far as anybody could tell

    def progress(self, step: int) -> float:
        """Return the share of the run that is done with a step, counted from 0: 1 with the last one, exactly."""
        if step + 1 >= self.end:
            return 1.0
        return self.done + (1.0 - self.done) * (step + 1 - self.step) / (self.end - self.step)


@dataclass
class Decisions:
    """The segments of a run under a clock, a few hundred however long it is, and its last evaluation by the clock.

    `replayed_until` and `replayed_looks` are of a run that goes on: what metrics.jsonl holds past the checkpoint is
    decided already.
    """

    segments: list[Segment] = field(default_factory=list)
    look: int = 0  # the last step at which an evaluation was due
    looked: float = 0.0  # the run's seconds then
    replayed_until: int = 0
    replayed_looks: frozenset[int] = frozenset()
    _logged: int = 0  # segments that stand in metrics.jsonl

    def progress(self, step: int) -> float:
        """Return the share of the run that is done with a step, counted from 0."""
        at = bisect_right(self.segments, step, key=lambda segment: segment.step)
        if at:
            return self.segments[at - 1].progress(step)
        first = self.segments[0]  # of a run that had no clock until then
        return first.done * (step + 1) / first.step

    def ended(self, step: int) -> bool:
        """Say whether no step is left after so many."""
        at = bisect_right(self.segments, step, key=lambda segment: segment.step)
        return at > 0 and step >= self.segments[at - 1].end

    def add(self, segment: Segment) -> None:
        """Go on by another segment."""
        self.segments.append(segment)

    def unlogged(self, step: int) -> list[Segment]:
        """Return the segments before a step that no earlier call returned: each is written down once."""
        begin, self._logged = self._logged, bisect_left(self.segments, step, key=lambda segment: segment.step)
        return self.segments[begin : self._logged]

    def stored(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"segments": [list(segment) for segment in self.segments], "look": self.look, "looked": self.looked}

    @classmethod
    def restored(cls, state: Mapping[str, Any], step: int, lines: Sequence[Mapping[str, Any]]) -> Decisions:
        """Return those of a checkpoint.

        Args:
            state: what `stored` gave.
            step: of the checkpoint.
            lines: of metrics.jsonl; what those past the checkpoint say was decided next is decided.
        """
        segments = [Segment(*segment) for segment in state["segments"]]
        kept = [line for line in lines if line.get("step", 0) <= step]
        past = [line for line in lines if line.get("step", 0) > step]
        known = segments[-1].step if segments else -1
        later = [segment for line in past for segment in _segments(line.get("clock"))]
        return cls(
            segments=segments + [segment for segment in later if segment.step > known],
            look=state["look"],
            looked=state["looked"],
            replayed_until=max((line["step"] for line in past if "progress" in line), default=0),
            replayed_looks=frozenset(line["step"] for line in past if "val_loss" in line),
            _logged=min(sum(len(_segments(line.get("clock"))) for line in kept), len(segments)),
        )


def _segments(value: Any) -> list[Segment]:
    """Return the segments of a line of metrics; none where somebody wrote something else there."""
    if not isinstance(value, list) or not all(isinstance(one, list) and len(one) == 3 for one in value):
        return []
    return [
        Segment(step, done, end)
        for step, done, end in value
        if type(step) is type(end) is int and type(done) in (int, float) and 0 <= done < 1 and 0 <= step < end
    ]
