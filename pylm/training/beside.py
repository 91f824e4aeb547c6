"""What goes on beside the steps of a run, and which none of them waits for: the process that sends it to trackers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pylm.runs.trackers import CRASHED, FINISHED, STOPPED, Told, Tracking
from pylm.training.between_steps import tell_news
from pylm.training.events import Doing, Event, Note, TrackerDropped

if TYPE_CHECKING:
    from pylm.training.loop import Session

__all__ = ["CRASHED", "FINISHED", "STOPPED", "Beside"]


class Beside:
    """Starts what a run asks for, and gives the loop what is to be told of it."""

    def __init__(self, session: Session) -> None:
        """Start; the run's configuration is written down by now."""
        metrics, self._run = session.plan.config.metrics, session.files.folder.path
        self._session = session
        self._tracking: Tracking | None = None
        if metrics.trackers:
            self._tracking = Tracking(self._run, metrics.trackers, finish=metrics.tracker_finish)
            session.hooks.news = self._news

    def finish(self, how: str) -> None:
        """Wait until all is sent or its time is up, and tell what became of it."""
        if self._tracking is not None:
            self._session.hooks.on_event(Doing(f"sending the rest to {', '.join(self._tracking.trackers)}"))
            told = self._tracking.finish(how)
            self._session.hooks.news = lambda: self._events(told)
            tell_news(self._session)

    def _news(self) -> Sequence[Event]:
        assert self._tracking is not None
        told = self._tracking.news()
        return self._events(told) if told else ()

    def _events(self, told: Iterable[Told]) -> list[Event]:
        dropped = [TrackerDropped(one.tracker, one.dropped, self._run) for one in told if one.dropped is not None]
        return [*dropped, *(Note(f"{one.tracker}: {one.note}") for one in told if one.note is not None)]
