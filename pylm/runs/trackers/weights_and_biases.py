"""`wandb`: Weights & Biases, online where this machine has a key, else into a folder that `wandb sync` sends."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import Any

from pylm.runs.trackers.figures import figures
from pylm.runs.trackers.sink import FINISHED, STOPPED, About, alert_of
from pylm.runs.trackers.tail import Line, Place, Rewound

__all__ = ["WeightsAndBiases"]


class WeightsAndBiases:
    """One run there, whatever becomes of the process: its id is kept, and steps are a figure of their own.

    W&B drops what is logged under a step lower than the last, so no step is given: a resumed run goes back.
    """

    def __init__(self, about: About, place: Place) -> None:
        """Begin the run there, or go on with it."""
        import wandb

        again = place.id is not None
        place.id = place.id or secrets.token_hex(4)
        mode = os.environ.get("WANDB_MODE")
        if mode is None:
            mode = "online" if wandb.login(prompt=False, verify=False) else "offline"
        self._wandb = wandb
        self._run: Any = wandb.init(
            project=about.project or os.environ.get("WANDB_PROJECT", "pylm"),
            name=about.name,
            id=place.id,
            resume="allow" if mode == "online" else None,
            mode=mode,
            dir=os.environ.get("WANDB_DIR") or str(about.folder),
            config=about.config,
            tags=[tag[:64] for tag in about.tags],  # its longest
            settings=wandb.Settings(console="off", x_disable_stats=True, disable_code=True, silent=True),
        )
        if mode == "offline":
            more = ", then this part of it" if again else ""
            about.say(f"it is offline; to send it: wandb sync {self._run.settings.sync_dir}{more}")
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def send(self, lines: Sequence[Line]) -> None:
        """Log figures; an incident is an alert, samples are a table."""
        for kind, record in lines:
            if kind == "metrics":
                self._run.log({"step": record["step"], **figures(record)})
            elif kind == "incidents":
                title, text = alert_of(record)
                self._run.alert(title=title, text=text)
        if samples := [record for kind, record in lines if kind == "samples"]:
            rows = [[record["step"], record.get("prompt"), record.get("text")] for record in samples]
            table = self._wandb.Table(columns=["step", "prompt", "text"], data=rows)
            self._run.log({"step": samples[-1]["step"], "samples": table})

    def rewind(self, to: Rewound) -> None:
        """Go on: with steps as a figure, what follows is drawn at its own place."""

    def finish(self, how: str) -> None:
        """End the run there."""
        self._run.finish(exit_code=0 if how in (FINISHED, STOPPED) else 1)
