"""`trackio`: its local database (TRACKIO_DIR), or the Space or server that its own variables name."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import Any

from pylm.runs.trackers.figures import figures
from pylm.runs.trackers.sink import About, alert_of
from pylm.runs.trackers.tail import Line, Place, Rewound

__all__ = ["TrackioTable"]


class TrackioTable:
    """One run there, found again by its name, which is therefore the folder's and some letters more."""

    def __init__(self, about: About, place: Place) -> None:
        """Begin the run there, or go on with it."""
        import trackio

        place.id = place.id or f"{about.name}-{secrets.token_hex(3)}"
        self._trackio = trackio
        self._run: Any = trackio.init(
            project=about.project or os.environ.get("TRACKIO_PROJECT", "pylm"),
            name=place.id,
            config=about.config,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def send(self, lines: Sequence[Line]) -> None:
        """Log figures at their steps; an incident is an alert, samples are a table."""
        for kind, record in lines:
            step = record["step"]
            if kind == "metrics":
                self._run.log(figures(record), step=step)
            elif kind == "samples":
                text = f"**{record.get('prompt')}** {record.get('text')}"
                self._run.log({"samples": self._trackio.Markdown(text)}, step=step)
            else:
                title, text = alert_of(record)
                self._trackio.alert(title=title, text=text)

    def rewind(self, to: Rewound) -> None:
        """Go on: each figure has its step."""

    def finish(self, how: str) -> None:
        """Have it write what it still holds."""
        self._run.finish()
