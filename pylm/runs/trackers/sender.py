"""One tracker at work, in a thread of its own: reads on, sends, keeps how far it is; whoever watches drops it."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pylm.runs.trackers.services import SERVICES, service_of
from pylm.runs.trackers.sink import Sink, about
from pylm.runs.trackers.tail import Place, Tail

__all__ = ["OPENING", "Sender", "waited"]

OPENING = 300.0  # seconds that a package may take to be imported and a service to answer, on a machine that computes
PART = 64  # lines sent at a time: MLflow takes 4 s for them where it has each already, and a whole reading took it 30


class Sender(threading.Thread):
    """Sends a run to one tracker until it is told how the run ended."""

    def __init__(self, run: Path, tracker: str, poll: float, told: Callable[..., None]) -> None:
        """Name the run and the tracker; `told` hears with its name what a user wants to know of it."""
        super().__init__(name=f"pylm-{tracker}", daemon=True)  # one that hangs keeps no process
        self.tracker, self.failure, self.sent = service_of(tracker)[0], "", 0
        self._project = service_of(tracker)[1]
        self._run, self._poll, self._told = run, poll, told
        self._ended = threading.Event()
        self._how = ""
        self._busy = False
        self._busy_for = 0.0
        self._waited = 0.0
        self._limit: float | None = None  # in place of the watcher's, for what it is busy with

    def end(self, how: str) -> None:
        """Ask to send the rest, and to finish."""
        self._how = how
        self._ended.set()

    def stalled(self, seconds: float, limit: float) -> bool:
        """Say whether it has been busy with one thing for too long, now that so many seconds more have passed.

        They are the watcher's own: on a machine that sleeps none pass. Nor do those in which the thread had work and
        no processor: beside a training that takes all, what it does in a second takes it more than a minute.
        """
        before, self._waited = self._waited, waited(self.native_id)
        own = max(0.0, seconds - (self._waited - before))
        self._busy_for = self._busy_for + own if self._busy else 0.0
        return self._busy_for > (self._limit or limit)

    def run(self) -> None:
        """Send; what goes wrong is kept as `failure`."""
        try:
            self._send_all()
        except BaseException as error:  # noqa: BLE001 - whatever a service raises, the run goes on without it
            self.failure = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

    def _send_all(self) -> None:
        kept = self._run / "trackers" / f"{self.tracker}.json"
        place = Place.read(kept)
        tail = Tail(self._run, place)
        with self._works(OPENING):
            sink = self._opened(place)
            place.write(kept)
        while True:
            ending = self._ended.is_set()  # asked before: what was written until then is sent
            while self._send_some(sink, tail):
                place.write(kept)
            if ending:
                break
            self._ended.wait(self._poll)
        with self._works():
            sink.finish(self._how)
            place.write(kept)

    def _opened(self, place: Place) -> Sink:
        module, _, name = SERVICES[self.tracker].sink.partition(":")
        make: Any = getattr(importlib.import_module(module), name)
        sink: Sink = make(about(self._run, self._project, lambda text: self._told(self.tracker, note=text)), place)
        return sink

    def _send_some(self, sink: Sink, tail: Tail) -> bool:
        """Send what is there, some hundred lines at most; False where nothing is."""
        back, lines = tail.rewound(), tail.read()
        if back is None and not lines:
            return False
        if back is not None:
            with self._works():
                sink.rewind(back)
        for at in range(0, len(lines), PART):
            with self._works():
                sink.send(lines[at : at + PART])
        self.sent += sum(line.kind == "metrics" for line in lines)
        return True

    @contextmanager
    def _works(self, limit: float | None = None) -> Iterator[None]:
        self._limit, self._busy_for, self._busy = limit, 0.0, True
        yield
        self._busy = False


def waited(thread: int | None) -> float:
    """Return the seconds in all that a thread of this process had work and no processor; 0 where no system says so."""
    try:
        return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):  # it ended, or the system is another
        return 0.0
