"""Ctrl-C and SIGTERM: the first asks the run to save and leave, the second leaves at once.

SIGUSR1 asks too, however often it comes: batch systems send it to all processes, some before a job's time is up.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Literal

__all__ = ["SignalStop", "Stop"]

INTERRUPTED = 130
SAVED = 75  # EX_TEMPFAIL: run the same again


class Stop:
    """Whether somebody asked to stop; polled between steps, in evaluation, sampling and probing."""

    def __init__(self) -> None:
        """Nobody has yet."""
        self.signal: int | None = None
        self.last_words: Callable[[], str] = lambda: ""  # what is kept, said by whoever leaves at once

    def __call__(self) -> bool:
        """Whether somebody has."""
        return self.signal is not None

    def ask(self, number: int = signal.SIGINT) -> None:
        """Ask to stop, as this signal does."""
        if self.signal is None:
            self.signal = number

    @property
    def exit_code(self) -> int:
        """What a process leaves with once its state is saved."""
        return INTERRUPTED if self.signal == signal.SIGINT else SAVED

    def __enter__(self) -> Stop:
        """Return it: a plain one hears no signals, and asks nothing of the process that it is in."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Do nothing."""
        return False


class SignalStop(Stop):
    """One that Ctrl-C and SIGTERM ask, while it is entered: for a process that is pylm's own."""

    def __init__(self, in_words: Callable[[str], str] = str, speaks: bool = True) -> None:
        """Hear nothing yet; `in_words` makes what is printed of a sentence that names parameters, if it `speaks`."""
        super().__init__()
        self._speaks = speaks
        self._in_words = in_words
        self._before: dict[int, object] = {}

    def __enter__(self) -> SignalStop:
        """Listen; outside of the main thread, where Python hears no signals, there is nothing to listen to."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Listen no more."""
        while self._before:
            number, handler = self._before.popitem()
            # None: it was set by something else than Python, and cannot be set again from here
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # type: ignore[arg-type]
        return False

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
            self._say("stopping after this step" + ("; again stops at once" if number != signal.SIGUSR1 else ""))
            return
        if number == signal.SIGUSR1:
            return
        try:
            self._say(self._in_words(self.last_words()))
        except Exception:  # noqa: BLE001 - whatever cannot be said now, the process leaves
            self._say("left at once")
        if _is_a_guest():
            raise KeyboardInterrupt
        # what is being written is a folder under another name until it is whole
        os._exit(128 + number)

    def _say(self, text: str) -> None:
        """Write a line where the run writes its own, from within a signal handler; nobody may be reading."""
        if text and self._speaks:
            try:
                os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"\n{text}\n".encode())
            except (OSError, ValueError):
                pass


def _is_a_guest() -> bool:
    """Whether the process is somebody's notebook or prompt, which is to live on."""
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules or bool(sys.flags.interactive)
