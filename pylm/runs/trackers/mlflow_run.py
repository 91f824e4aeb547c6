"""`mlflow`: where MLFLOW_TRACKING_URI says, else the database that MLflow itself takes, mlflow.db here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pylm.runs.trackers.figures import figures
from pylm.runs.trackers.sink import FINISHED, STOPPED, About
from pylm.runs.trackers.tail import Line, Place, Rewound

__all__ = ["MlflowRun"]

METRICS, PARAMS, LONGEST = 1000, 100, 6000  # of one call, and characters of a parameter
STRANGE = re.compile(r"[^\w\-. :/]")  # no character of a name there
STATUS = {FINISHED: "FINISHED", STOPPED: "KILLED"}


class MlflowRun:
    """A run there, by the client alone: nothing of the process is MLflow's, and no server is started."""

    def __init__(self, about: About, place: Place) -> None:
        """Begin the run there, or go on with it; parameters are the configuration."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._client, self._metric = MlflowClient(), Metric
        if place.id is None:
            name = about.project or os.environ.get("MLFLOW_EXPERIMENT_NAME", "pylm")
            found = self._client.get_experiment_by_name(name)
            experiment = self._client.create_experiment(name) if found is None else found.experiment_id
            tags = {f"pylm.{number}": tag for number, tag in enumerate(about.tags)}
            place.id = str(self._client.create_run(experiment, run_name=about.name, tags=tags).info.run_id)
            params = [Param(key, str(value)[:LONGEST]) for key, value in about.config.items()]
            for part in _cut(params, PARAMS):
                self._client.log_batch(place.id, params=part)
        else:
            self._client.update_run(place.id, status="RUNNING")
        self._id = place.id
        # a line that is sent twice has the same times, and MLflow then keeps it once
        self._began = int(self._client.get_run(self._id).info.start_time)

    def send(self, lines: Sequence[Line]) -> None:
        """Log figures, incidents as tags, samples as texts beside."""
        metrics = [one for kind, record in lines if kind == "metrics" for one in self._metrics(record)]
        for part in _cut(metrics, METRICS):
            self._client.log_batch(self._id, metrics=part)
        for kind, record in lines:
            if kind == "incidents":
                self._client.set_tag(self._id, f"incident.step_{record['step']}", str(record.get("kind")))
        for step in dict.fromkeys(record["step"] for kind, record in lines if kind == "samples"):
            texts = [f"{record.get('prompt')}{record.get('text')}" for kind, record in lines
                     if kind == "samples" and record["step"] == step]  # fmt: skip
            self._client.log_text(self._id, "\n\n".join(texts), f"samples/step_{step}.txt")

    def rewind(self, to: Rewound) -> None:
        """Go on: each figure has its step."""

    def finish(self, how: str) -> None:
        """Say how the run ended."""
        self._client.set_terminated(self._id, status=STATUS.get(how, "FAILED"))

    def _metrics(self, record: dict[str, Any]) -> Iterator[Any]:
        when = self._began + int(1000 * record.get("seconds", 0))
        for name, value in figures(record).items():
            yield self._metric(STRANGE.sub("_", name), float(value), when, record["step"])


def _cut(items: list[Any], size: int) -> Iterator[list[Any]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]
