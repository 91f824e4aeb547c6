"""The side of whoever trains: starts the process that sends, hears of it without ever waiting, and ends it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from pylm.runs.listing import state_of
from pylm.runs.trackers.services import check, service_of
from pylm.runs.trackers.sink import STOPPED

__all__ = ["STALL", "Told", "Tracking", "track"]

STALL = 30.0  # seconds after which a tracker that does not answer is done without
NICE = 19  # a hundredth of a core beside a training that takes all
POLL = 1.0  # seconds between looks for new lines
ENDED = 1.0  # seconds that a process has to end in once it is told to
# Linux shares the processor among sessions first, and nice counts within one: at 19, but in a session of its own, it
# made one step of 1 ms in 30 wait for 4 ms, and one in 300 where the session steps back too. Another such change within
# a tenth of a second is refused. The modules are those of whoever starts it, not those of the folder it is started in.
START = """import json, os, sys, time
os.nice(int(sys.argv[3]))
for _ in range(20):
    try:
        with open("/proc/self/autogroup", "w") as session:
            session.write(sys.argv[3])
    except BlockingIOError:
        time.sleep(0.1)
        continue
    except OSError:
        pass
    break
sys.path[:] = json.loads(sys.argv[2])
from pylm.runs.trackers.process import main
main(json.loads(sys.argv[1]))"""


class Told(NamedTuple):
    """What a tracker has to say: it was `dropped`, and why; it has a note; or so many lines were `sent`."""

    tracker: str
    dropped: str | None = None
    note: str | None = None
    sent: int | None = None


class Tracking:
    """A process that sends a run to trackers; `news` is what it said since, without waiting."""

    def __init__(
        self,
        run: Path,
        trackers: Sequence[str],
        *,
        finish: float,
        stall: float = STALL,
        poll: float = POLL,
        patience: float = 60.0,
        nice: int | None = None,
    ) -> None:
        """Start it.

        Args:
            run: its folder.
            trackers: that were checked.
            finish: seconds for the rest once the run has ended.
            stall: seconds after which one that does not answer is done without.
            poll: seconds between looks for new lines.
            patience: seconds for another process to be done that sends this run.
            nice: how far it steps back where the processor is wanted; as far as can be where None.
        """
        self.trackers = tuple(service_of(one)[0] for one in trackers)
        self._finish, self._too_late = finish, False
        self._news: deque[Told] = deque()
        request = {"run": str(run), "trackers": list(trackers), "finish": finish, "stall": stall, "poll": poll,
                   "patience": patience}  # fmt: skip
        given = (
            json.dumps(request),
            json.dumps([path for path in sys.path if path]),
            str(NICE if nice is None else nice),
        )
        # a session of its own: Ctrl-C at the terminal is the training's, and the rest is still sent after it
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, *given],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._end: IO[bytes] = self._process.stdin
        self._hearing = threading.Thread(target=self._hear, args=(self._process.stdout,), daemon=True)
        self._hearing.start()

    def news(self) -> Sequence[Told]:
        """Return what was said since the last call."""
        if not self._news:
            return ()
        return [self._news.popleft() for _ in range(len(self._news))]

    def finish(self, how: str) -> Sequence[Told]:
        """Say how the run ended, wait until the rest is sent or its time is up, and return what was said."""
        with suppress(OSError):
            self._end.write(how.encode())
            self._end.close()
        limit = None if math.isinf(self._finish) else self._finish + ENDED
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self._too_late = True
        self._kill()
        self._hearing.join(ENDED)
        return self.news()

    @property
    def goes_on(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def _kill(self) -> None:
        """End whatever is left of it, services that it started too."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(ENDED)
                return

    def _hear(self, lines: IO[bytes]) -> None:
        """Take what the process says; where it ends without a word of a tracker, that was dropped too."""
        silent = set(self.trackers)
        with lines:
            for line in lines:
                with suppress(ValueError, TypeError):
                    told = Told(**json.loads(line))
                    self._news.append(told)
                    silent -= {told.tracker} if told.note is None else set()
        why = f"its process ended with {self._process.wait()}"
        if self._too_late:
            why = f"it had not finished {self._finish:g} s after the run"
        self._news.extend(Told(one, why) for one in self.trackers if one in silent)


def track(run: Path, trackers: Sequence[str], on_told: Callable[[Told], object] = lambda told: None) -> None:
    """Send a run that stands, or follow one that goes on until it ends; nothing that was sent is sent again.

    Args:
        run: Its folder.
        trackers: `csv`, `tensorboard`, `wandb`, `trackio` or `mlflow`, those with projects as `wandb:my-project`.
        on_told: Hears what each has to say, and how many lines were sent.
    """
    check(trackers)
    goes_on = state_of(run)[0] == "training"
    tracking = Tracking(run, trackers, finish=math.inf, patience=0.0, nice=None if goes_on else 0)
    try:
        while tracking.goes_on and state_of(run)[0] == "training":
            for told in tracking.news():
                on_told(told)
            time.sleep(POLL)
        state = state_of(run)[0]
    except KeyboardInterrupt:
        state = STOPPED
    for told in tracking.finish(state):
        on_told(told)
