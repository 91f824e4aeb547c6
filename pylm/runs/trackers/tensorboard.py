"""`tensorboard`: files of events that TensorBoard reads; its package is not needed to write them."""

from __future__ import annotations

from collections.abc import Sequence

from pylm.runs.trackers.event_file import EventFile
from pylm.runs.trackers.figures import figures
from pylm.runs.trackers.sink import About, alert_of
from pylm.runs.trackers.tail import Line, Place, Rewound

__all__ = ["TensorBoard"]


class TensorBoard:
    """Writes RUN/trackers/tensorboard/: figures over steps, samples and incidents as texts."""

    def __init__(self, about: About, place: Place) -> None:
        """Begin a new file, as TensorBoard wants it of each process."""
        place.id = "tensorboard"
        self._events = EventFile(about.folder / place.id)
        if not place.lines:
            self._events.text(0, "config", "\n".join(f"    {key}: {value}" for key, value in about.config.items()))

    def send(self, lines: Sequence[Line]) -> None:
        """Write them."""
        for kind, record in lines:
            step = record["step"]
            if kind == "metrics":
                self._events.scalars(step, figures(record))
            elif kind == "samples":
                self._events.text(step, f"sample after {record.get('prompt')!r}", str(record.get("text")))
            else:
                self._events.text(step, "incident", ": ".join(alert_of(record)))
        self._events.flush()

    def rewind(self, to: Rewound) -> None:
        """Have TensorBoard forget the steps that were taken back."""
        self._events.restart(to.step + 1)

    def finish(self, how: str) -> None:
        """End the file."""
        self._events.close()
