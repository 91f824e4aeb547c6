"""A training in a thread of its own, for whoever calls it from a program: no signal handler, no process that leaves.

Ctrl-C in Python is an exception in the main thread, wherever that is: in the middle of an optimizer step it would leave
half of one. So the steps are taken elsewhere, the caller's thread hands out the events, and Ctrl-C only asks to stop.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from pylm.errors import Interrupted
from pylm.runs import Stop
from pylm.training.events import Event, Tokenizing

__all__ = ["Listening", "in_own_thread"]

WAITING_EVENTS = 64  # for a slow listener, before training waits too
CHECK_SECONDS = 1.0  # between looks whether the other side is still there

T = TypeVar("T")


def in_own_thread(work: Callable[[Listening], T], on_event: Callable[[Event], object], listens: bool) -> T:
    """Do the work in a thread, and hear its events in this one; return, or raise, what came of it.

    The first Ctrl-C asks to stop: the state is saved, and the work ends with Interrupted. The second raises
    KeyboardInterrupt at once; nobody hears any more, and the thread ends once the step that is being taken is saved: a
    script that is left waits for it. An `on_event` that raises stops the work too, and what it raised is raised once
    the state is saved.

    Args:
        work: given what it reports to.
        on_event: called in this thread.
        listens: whether every step is heard.
    """
    running = _Running(work, listens)
    failure: BaseException | None = None
    interrupted = started = False
    while True:
        try:
            if not started:
                started = True
                running.start()
            if (event := running.next_event()) is None:
                break
            if failure is None:
                on_event(event)
        except KeyboardInterrupt:
            running.ask(signal.SIGINT)
            if interrupted:
                running.abandon()
                raise
            interrupted = True
        except BaseException as error:  # noqa: BLE001 - the listener's, raised again below
            failure = failure or error
            running.ask(signal.SIGTERM)
    if failure is not None:
        raise failure from running.error
    return running.outcome()


class Listening:
    """What the work reports to: it may ask whether to stop, tell events, and ask whether a step is heard."""

    def __init__(self, stop: Stop, on_event: Callable[[Event], None], listens: bool) -> None:
        """Keep the three."""
        self.stop = stop
        self.on_event = on_event
        self.wants_step = lambda: listens


class _Running(Generic[T]):
    """The work, under way."""

    def __init__(self, work: Callable[[Listening], T], listens: bool) -> None:
        self.error: BaseException | None = None
        self._stop = Stop()
        self._events: queue.Queue[Event | None] = queue.Queue(WAITING_EVENTS)
        self._results: list[T] = []
        self._abandoned = False
        listening = Listening(self._stop, self._tell, listens)
        # no daemon: an interpreter that ends waits until the state is saved
        self._thread = threading.Thread(target=self._run, args=(work, listening), name="pylm-train")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask(self, number: int) -> None:
        """Ask to stop."""
        self._stop.ask(number)

    def abandon(self) -> None:
        """Hear no more."""
        self._abandoned = True

    def next_event(self) -> Event | None:
        """Return the next one; None where none will come."""
        while True:
            alive = self._thread.is_alive()  # asked before: what a thread that has ended told is in the queue
            try:
                return self._events.get(timeout=CHECK_SECONDS if alive else 0.001)
            except queue.Empty:
                if not alive:
                    return None

    def outcome(self) -> T:
        """Return what came of the work, or raise it."""
        if self.error is not None and not isinstance(self.error, KeyboardInterrupt):
            raise self.error
        if not self._results:  # while text was tokenized, say: what lies there already is kept
            stopped = Interrupted("stopped before the first step: nothing of the run is there to be saved",
                                  "the same call begins again, with the tokens that were written")  # fmt: skip
            stopped.exit_code = self._stop.exit_code
            raise stopped from None
        return self._results[0]

    def _run(self, work: Callable[[Listening], T], listening: Listening) -> None:
        try:
            self._results.append(work(listening))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self.error = error
        finally:
            self._put(None)

    def _tell(self, event: Event) -> None:
        if isinstance(event, Tokenizing) and self._stop():
            raise KeyboardInterrupt  # which the native code passes on
        self._put(event)

    def _put(self, event: Event | None) -> None:
        while not self._abandoned:
            try:
                return self._events.put(event, timeout=CHECK_SECONDS)
            except queue.Full:
                continue
