"""The trackers that there are, what each needs, and what a name such as `wandb:my-project` means."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from pylm.errors import UsageError, did_you_mean

__all__ = ["SERVICES", "Service", "check", "service_of"]


@dataclass(frozen=True)
class Service:
    """A tracker: the sink that sends to it, and the package that has to be there."""

    sink: str  # module:class
    package: str | None = None  # what it imports; None where pylm alone is enough
    has_projects: bool = False


SERVICES = {
    "csv": Service("pylm.runs.trackers.csv_table:CsvTable"),
    "tensorboard": Service("pylm.runs.trackers.tensorboard:TensorBoard"),
    "wandb": Service("pylm.runs.trackers.weights_and_biases:WeightsAndBiases", "wandb", has_projects=True),
    "trackio": Service("pylm.runs.trackers.trackio_table:TrackioTable", "trackio", has_projects=True),
    "mlflow": Service("pylm.runs.trackers.mlflow_run:MlflowRun", "mlflow", has_projects=True),
}


def service_of(tracker: str) -> tuple[str, str | None]:
    """Return the name and the project of what was asked for, such as `wandb:my-project`; refuse what is neither."""
    name, colon, project = tracker.partition(":")
    if name not in SERVICES:
        known = f"there are {', '.join(SERVICES)}"
        raise UsageError(f"there is no tracker {name or repr(tracker)}", did_you_mean(name, SERVICES) or known)
    if colon and not (project and SERVICES[name].has_projects):
        why = "it has no projects" if project else "the project's name is empty"
        raise UsageError(f"{tracker} is no tracker: {why}", f"write {name}")
    return name, project or None


def check(trackers: Iterable[str]) -> None:
    """Refuse trackers that are not there, are named twice, or need a package that is not installed."""
    named: set[str] = set()
    for tracker in trackers:
        name, _ = service_of(tracker)
        if name in named:
            raise UsageError(f"the tracker {name} is named twice", "name it once: a run has one project there")
        named.add(name)
        package = SERVICES[name].package
        if package is not None and not _is_installed(package):
            raise UsageError(f"the tracker {name} is not installed", f"pip install '.[{name}]'")


def _is_installed(package: str) -> bool:
    """Say whether a package can be imported, without importing it: a folder of that name here is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None
