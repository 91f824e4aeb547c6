"""What goes on beside the steps of a run, and none of them waits for: trackers, and a program run on incidents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pylm.runs.trackers import CRASHED, FINISHED, STOPPED, Told, Tracking
from pylm.training.between_steps import tell_news
from pylm.training.events import Doing, Event, Incident, Note, TrackerDropped
from pylm.training.on_incident import Alarm

if TYPE_CHECKING:
    from pylm.training.loop import Session

__all__ = ["CRASHED", "FINISHED", "STOPPED", "Beside"]


class Beside:
    """Starts what a run asks for, and gives the loop what is to be told of it."""

    def __init__(self, session: Session, program: Sequence[str] | None = None) -> None:
        """Start; the run's configuration is written down by now."""
        metrics, run = session.plan.config.metrics, session.files.folder.path
        self._session, self._tell = session, session.hooks.on_event
        self._alarm = None if program is None else Alarm(program, run)
        self._tracking: Tracking | None = None
        if metrics.trackers:
            self._tracking = Tracking(run, metrics.trackers, finish=metrics.tracker_finish)
        if self._alarm or self._tracking:
            session.hooks.on_event, session.hooks.news = self._hear, self._news

    def finish(self, how: str) -> None:
        """Wait until all is sent and told, or the time for it is up, and tell what became of it."""
        if self._tracking is not None:
            self._tell(Doing(f"sending the rest to {', '.join(self._tracking.trackers)}"))
            left = [*self._events(self._tracking.finish(how))]
            self._session.hooks.news = lambda: left
            tell_news(self._session)
        if self._alarm is not None:
            self._alarm.finish()
            self._session.hooks.news = self._failures
            tell_news(self._session)

    def _hear(self, event: Event) -> None:
        self._tell(event)
        if self._alarm is not None and isinstance(event, Incident | TrackerDropped):
            self._alarm(event.record)

    def _news(self) -> Sequence[Event]:
        told = () if self._tracking is None else self._tracking.news()
        failed = () if self._alarm is None or not self._alarm.failures else self._failures()
        return (*self._events(told), *failed) if told or failed else ()

    def _failures(self) -> Sequence[Event]:
        assert self._alarm is not None
        failures = self._alarm.failures
        return [Note(f"what is run on an incident failed: {failures.popleft()}") for _ in range(len(failures))]

    def _events(self, told: Iterable[Told]) -> Iterator[Event]:
        for one in told:
            if one.dropped is not None:
                run, step = self._session.files.folder.path, self._session.progress.step
                yield TrackerDropped(step, one.tracker, one.dropped, run)
            elif one.note is not None:
                yield Note(f"{one.tracker}: {one.note}")
