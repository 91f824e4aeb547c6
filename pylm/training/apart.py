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

from pylm.runs import Stop
from pylm.training.events import Event, Tokenizing
from pylm.training.loop import Hooks

__all__ = ["in_own_thread"]

AHEAD = 64  # events that wait for a slow listener before training waits too
LOOKS = 1.0  # seconds after which a thread that is gone is noticed, whatever happened to its last word

T = TypeVar("T")


def in_own_thread(work: Callable[[Hooks], T], on_event: Callable[[Event], None], listens: bool) -> T:
    """Do the work in a thread, and hear its events in this one; return, or raise, what came of it.

    The first Ctrl-C asks to stop: the state is saved, and the work ends with Interrupted. The second raises
    KeyboardInterrupt at once; the step that is being taken is saved all the same. An `on_event` that raises stops the
    work in the same way, and its exception is raised once the state is saved.

    Args:
        work: given what it reports to.
        on_event: called in this thread.
        listens: whether every step is heard.
    """
    running = _Running(work, listens)
    failure: BaseException | None = None
    while True:
        try:
            event = running.next_event()
            if event is None:
                break
            if failure is None:
                on_event(event)
        except KeyboardInterrupt:
            if running.stop():
                raise
            running.stop.ask(signal.SIGINT)
        except Exception as error:  # noqa: BLE001 - the listener's, raised again below
            failure = failure or error
            running.stop.ask(signal.SIGTERM)
    if failure is not None:
        raise failure
    return running.outcome()


class _Running(Generic[T]):
    """The work, under way."""

    def __init__(self, work: Callable[[Hooks], T], listens: bool) -> None:
        self.stop = Stop()
        self._events: queue.Queue[Event | None] = queue.Queue(AHEAD)
        self._results: list[T] = []
        self._error: BaseException | None = None
        hooks = Hooks(stop=self.stop, on_event=self._tell, wants_step=lambda: listens)
        self._thread = threading.Thread(target=self._run, args=(work, hooks), name="pylm-train", daemon=True)
        self._thread.start()

    def next_event(self) -> Event | None:
        """Return the next one; None where none will come."""
        while True:
            try:
                return self._events.get(timeout=LOOKS)
            except queue.Empty:
                if not self._thread.is_alive():
                    return None

    def outcome(self) -> T:
        """Return what came of the work, or raise it."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self, work: Callable[[Hooks], T], hooks: Hooks) -> None:
        try:
            self._results.append(work(hooks))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._error = error
        finally:
            self._events.put(None)

    def _tell(self, event: Event) -> None:
        if isinstance(event, Tokenizing) and self.stop():
            raise KeyboardInterrupt  # nothing of a run is there to be saved, and the tokens that were written stay
        self._events.put(event)
