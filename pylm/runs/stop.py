"""Ctrl-C and SIGTERM: the first asks the run to save and leave, the second leaves at once."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType, TracebackType
from typing import Literal

__all__ = ["Stop"]

INTERRUPTED = 130
SAVED = 75  # EX_TEMPFAIL: run the same again


class Stop:
    """Whether somebody asked to stop; polled between steps, in evaluation, sampling and probing."""

    def __init__(self) -> None:
        """Nobody has yet."""
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    def __call__(self) -> bool:
        """Whether somebody has."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What the process leaves with once its state is saved."""
        return INTERRUPTED if self.signal == signal.SIGINT else SAVED

    def __enter__(self) -> Stop:
        """Listen."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Listen no more."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        return False

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            # what is being written is a folder under another name until it is whole
            os._exit(128 + number)
        self.signal = number
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"\nstopping after this step; again stops at once\n")
