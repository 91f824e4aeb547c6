"""What a tracker has to do, and what it is told of the run: one file of this room does it for each service."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pylm.runs.differing import environment
from pylm.runs.trackers.tail import Line, Rewound

__all__ = ["CRASHED", "FINISHED", "STOPPED", "About", "Sink", "about", "alert_of"]

FINISHED, STOPPED, CRASHED = "finished", "stopped", "crashed"  # how a run ends, for a tracker


@dataclass(frozen=True)
class About:
    """The run, for a tracker."""

    run: Path
    project: str | None  # that was asked for
    config: dict[str, Any]  # by qualified key
    tags: tuple[str, ...]
    say: Callable[[str], None] = field(default=lambda text: None)

    @property
    def name(self) -> str:
        """What the run is called: its folder's name."""
        return self.run.resolve().name

    @property
    def folder(self) -> Path:
        """Where a tracker may write."""
        return self.run / "trackers"


class Sink(Protocol):
    """Sends to a service; made with an `About` and a `Place`, whose `id` it fills in or goes on with.

    Any of it may raise, or take long: whoever calls it then does without the tracker.
    """

    def send(self, lines: Sequence[Line]) -> None:
        """Take lines; they are the service's when this returns."""
        ...

    def rewind(self, to: Rewound) -> None:
        """Hear that the run went on from an earlier step."""
        ...

    def finish(self, how: str) -> None:
        """Hear that nothing will follow, and how the run ended."""
        ...


def alert_of(incident: Mapping[str, Any]) -> tuple[str, str]:
    """Return the title and the text of an incident."""
    loss = "not finite" if incident.get("loss") is None else incident["loss"]
    return f"{incident.get('kind')} at step {incident['step']}", str(incident.get("why") or f"loss {loss}")


def about(run: Path, project: str | None, say: Callable[[str], None]) -> About:
    """Return what a tracker is told of a run: its configuration, and tags of what it is and where it runs."""
    from pylm.config.cascade import resolve
    from pylm.config.schema import SECTIONS

    config = resolve(files=[run / "config.yaml"], environ={}).config
    values = {f"{section}.{key}": value for section in SECTIONS
              for key, value in getattr(config, section).model_dump(mode="json").items()}  # fmt: skip
    choices = environment(run).get("choices", {})
    tags = (config.model.mlp, choices.get("backend"), choices.get("device"), choices.get("precision"), platform.node())
    return About(run, project, values, tuple(tag for tag in tags if tag), say)
