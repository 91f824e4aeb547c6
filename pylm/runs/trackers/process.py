"""The process that sends a run to its trackers: a thread for each, and one that drops those which fail or stall.

It hears on its stdin how the run ended; where that closes without a word, whoever trained is gone, and the rest is sent
all the same. What it has to say goes to where its stdout was, a JSON object a line; what services print, to a log.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pylm.runs.trackers.sender import Sender
from pylm.runs.trackers.services import service_of
from pylm.runs.trackers.sink import CRASHED

__all__ = ["main"]

CHECK = 0.25  # seconds between looks at the senders
MOST = 1.0  # that pass for a sender between two looks: the machine slept where it was more
LOCK, LOG = ".lock", "log.txt"


def main(request: dict[str, Any]) -> None:
    """Send a run to its trackers until it is over.

    Args:
        request: `run`, `trackers`, and the seconds of `poll`, `stall`, `finish` and `patience`.
    """
    told = _Told(os.dup(1))
    run = Path(request["run"])
    (run / "trackers").mkdir(exist_ok=True)
    _log_to(run / "trackers" / LOG)
    if not _locked(run / "trackers" / LOCK, request["patience"]):
        for tracker in request["trackers"]:
            told(service_of(tracker)[0], dropped="another process still sends this run")
        os._exit(1)
    senders = [Sender(run, tracker, request["poll"], told) for tracker in request["trackers"]]
    for sender in senders:
        sender.start()
    watch = _Watch(senders, request["stall"], told)
    watch.finish(watch.until_ended(), request["finish"])
    os._exit(0)  # past what a service that hangs would wait for


class _Told:
    """Says a line to whoever started the process, if anybody still listens."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __call__(self, tracker: str, **what: Any) -> None:
        with suppress(OSError):
            os.write(self._handle, (json.dumps({"tracker": tracker, **what}) + "\n").encode())


def _log_to(path: Path) -> None:
    """Have what services print go to a file: the terminal belongs to the training."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _locked(path: Path, patience: float) -> bool:
    """Take the lock of a run's trackers, once a process of before that sends the rest is done."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    begun = time.monotonic()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() - begun > patience:
                return False
            time.sleep(CHECK)


class _Watch:
    """Looks at senders, and drops those that failed or stall."""

    def __init__(self, senders: list[Sender], stall: float, told: _Told) -> None:
        self.senders = senders
        self._stall, self._told, self._looked = stall, told, time.monotonic()

    def look(self) -> None:
        """Drop those that have to be, and say so once."""
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, MOST), now
        for sender in list(self.senders):
            why = sender.failure
            if not why and sender.stalled(passed, self._stall):
                why = "it no longer answers"
            if why:
                self._told(sender.tracker, dropped=why)
                self.senders.remove(sender)

    def until_ended(self) -> str:
        """Look until the run is over or nothing is left to look at; return how it ended."""
        while self.senders:
            ready, _, _ = select.select([0], [], [], CHECK)
            self.look()
            if ready:
                return os.read(0, 64).decode("ascii", "replace").strip() or CRASHED
        return CRASHED

    def finish(self, how: str, seconds: float) -> None:
        """Have them finish in so many seconds, and do without those that have not."""
        for sender in self.senders:
            sender.end(how)
        until = time.monotonic() + seconds
        while self.senders and time.monotonic() < until:
            for sender in [one for one in self.senders if not one.is_alive() and not one.failure]:
                self._told(sender.tracker, sent=sender.sent)
                self.senders.remove(sender)
            self.look()
            if self.senders:
                self.senders[0].join(CHECK / 5)
        for sender in self.senders:
            self._told(sender.tracker, dropped=f"it had not finished {seconds:g} s after the run")
