"""Whether the other processes of a run are alive: each says so in the store, and whoever no longer does is named.

A process that is stopped or stuck says nothing of itself, and those that wait for it in a collective cannot tell which
one it is. So a thread of each tells every second how far its training is and whether it waits for others; where all
wait for longer than they should, those that do not wait, or tell nothing any more, are the ones that hang.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Literal, Protocol

from pylm.training.events import Started, Stepped
from pylm.training.launch.codes import LOST

if TYPE_CHECKING:
    from pylm.runs import Stop
    from pylm.training.events import Event
    from pylm.training.world import World

__all__ = ["Beat", "Pulse", "hanging"]

BEAT = 1.0  # seconds; a thousand processes are a thousand small messages
BEFORE = 0.9  # of parallel_timeout: named before the collective itself gives up, which names nobody
STARTING = 3.0  # times parallel_timeout: before the first step, models are compiled and machines measured
BEATS = 80  # in that time, where it is short: the looks that name somebody fit into what is left of it
LOOKS = 4  # beats between two looks: whoever is alive has told something new
SPOKEN = 0.5  # seconds that the others leave to the one that speaks
STEP = 1.0  # seconds between steps of which the figures are asked for
# what whoever waits for others is in, and the house, by whose innermost frame one tells
WAITS, TALKS = os.path.join("torch", "distributed"), os.path.join("torch_backend", "group.py")
HOUSE = os.path.dirname(os.path.dirname(os.path.dirname(__file__))) + os.sep


@dataclass(frozen=True)
class Beat:
    """What a process last told of itself."""

    number: int
    host: str
    pid: int
    step: int
    still: float  # seconds in which its training has not moved
    waits: bool  # for others, in a collective
    where: str  # its training is

    def __str__(self) -> str:
        """Say which process it is, as an error does."""
        return f"host {self.host}, pid {self.pid}, step {self.step}"


UNTOLD = Beat(0, "unknown", 0, 0, 0.0, waits=False, where="its start")


class Store(Protocol):
    """What is used of torch's."""

    def set(self, key: str, value: str) -> None:
        """Keep a value."""

    def get(self, key: str) -> bytes:
        """Return one."""
        ...

    def check(self, keys: list[str]) -> bool:
        """Say whether all of them are there."""
        ...


def hanging(before: Sequence[Beat], now: Sequence[Beat], patience: float) -> list[int]:
    """Return the ranks of those that hang: they tell nothing new, or stand still without waiting for others.

    Nobody does while one of those that wait has not waited for long.
    """
    telling = [rank for rank, beat in enumerate(now) if beat.number > before[rank].number]
    waiting = [now[rank].still for rank in telling if now[rank].waits]
    if max(waiting, default=0.0) <= patience:
        return []
    moving = {rank for rank in telling if now[rank].waits or now[rank].still <= patience}
    return [rank for rank in range(len(now)) if rank not in moving]


class Pulse:
    """A thread that tells how this process does, and ends it where another one hangs or the launcher is gone."""

    def __init__(
        self,
        world: World,
        folder: Path | None,
        patience: float,
        stop: Stop,
        meet: Callable[[], Store],
    ) -> None:
        """Watch the thread that makes it.

        Args:
            world: this process, and how many there are.
            folder: of the run, where stacks are written.
            patience: seconds that a process may wait for another.
            stop: asked to save and leave once the launcher is gone.
            meet: returns a client of its own of the store in which the processes have met: theirs waits where they do.
        """
        self._meet = meet
        self._world, self._folder, self._stop = world, folder, stop
        self._patience, self._started = BEFORE * patience, False
        self._watched, self._parent = threading.get_ident(), os.getppid()
        self._pause = min(BEAT, patience / BEATS)
        self._moved, self._step, self._asked = time.monotonic(), 0, 0.0
        self._place: list[tuple[int, int]] = []  # in the program, at the beat before
        self._told = 0  # how often the store has answered
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=work, name="pylm-pulse", daemon=True) for work in (self._tell, self._watch_store)
        ]

    def listening(self, on_event: Callable[[Event], None]) -> Callable[[Event], None]:
        """Return what hears an event after this has."""

        def heard(event: Event) -> None:
            self._moved = time.monotonic()
            self._started |= isinstance(event, Started)
            if isinstance(event, Started | Stepped):
                self._step = event.step
            on_event(event)

        return heard

    def wants_step(self, wanted: Callable[[], bool]) -> Callable[[], bool]:
        """Return whether a step's figures are wanted: once a second by this, to know where it is.

        It is asked once a step in each process, of which the first alone hears events.
        """

        def wants() -> bool:
            self._moved = now = time.monotonic()
            self._started = True
            if due := now - self._asked >= STEP:
                self._asked = now
            return wanted() or due

        return wants

    def __enter__(self) -> Pulse:
        """Begin to tell."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Tell no more."""
        self._over.set()
        return False

    def _tell(self) -> None:
        number, before, looked = 0, list[Beat](), 0.0
        try:
            store = self._meet()
            while not self._over.wait(self._pause):
                self._told += 1
                if os.getppid() != self._parent:
                    self._stop.ask(signal.SIGTERM)
                    return
                number += 1
                beat = self._beat(number)
                store.set(f"beat/{self._world.rank}", json.dumps(asdict(beat)))
                patience = self._patient()
                if beat.still <= patience:
                    before = []
                elif time.monotonic() - looked > LOOKS * self._pause:
                    looked = time.monotonic()
                    beats = _beats(store, self._world.size)
                    if before and (hang := hanging(before, beats, patience)):
                        self._leave(beats, hang)
                    before = beats
        except RuntimeError:  # whoever held the store is gone: the step is finished, and the state saved
            if not self._over.is_set():
                self._stop.ask(signal.SIGTERM)
        finally:
            self._over.set()

    def _patient(self) -> float:
        """Return how many seconds a process may wait by now."""
        return self._patience if self._started else STARTING * self._patience

    def _watch_store(self) -> None:
        """Leave where the store answers no more: who holds it is stopped, and torch waits for its answer for ever."""
        told, silent = 0, 0.0
        while not self._over.wait(self._pause):
            told, silent = self._told, silent + self._pause if self._told == told else 0.0
            if silent > self._patient():
                self._say_and_leave("the process that holds the store of all hangs", speaks=self._world.rank == 1)

    def _beat(self, number: int) -> Beat:
        """Return how this process does: where its training is, by the innermost of its frames."""
        frame = sys._current_frames().get(self._watched)
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "nowhere"
        waits, place = _waits(frame), _place(frame)
        if not waits and place != self._place:
            self._moved = time.monotonic()  # it computes: samples and questions take as long as they take
        self._place = place
        still = time.monotonic() - self._moved
        return Beat(number, socket.gethostname(), os.getpid(), self._step, still, waits, where)

    def _leave(self, beats: Sequence[Beat], hang: Sequence[int]) -> None:
        """Say who hangs, write down where the others are, and end this process: it would wait for ever."""
        step = max(beat.step for beat in beats)  # all take the same, and the first alone hears which
        beats = [replace(beat, step=step) for beat in beats]
        named = "; ".join(f"rank {rank} ({beats[rank]}) hangs, at {beats[rank].where}" for rank in hang)
        self._say_and_leave(named, speaks=self._world.rank == min(set(range(len(beats))) - set(hang)))

    def _say_and_leave(self, named: str, speaks: bool) -> None:
        """End this process, having written where it is; one of all says why."""
        stacks = self._write_stacks()
        if speaks:
            kept = f"; stacks of the others: {stacks}" if stacks else ""
            os.write(2, f"error: {named}: the others have waited {self._patience:.0f} s for it{kept}\n".encode())
        else:
            time.sleep(SPOKEN)
        os._exit(LOST)

    def _write_stacks(self) -> Path | None:
        """Write where each thread of this process is to the folder of the run."""
        if self._folder is None:
            return None
        try:
            folder = self._folder / "stacks"
            folder.mkdir(exist_ok=True)
            with open(folder / f"rank_{self._world.rank}.txt", "w") as file:
                faulthandler.dump_traceback(file)
        except OSError:
            return None
        return folder


def _waits(frame: FrameType | None) -> bool:
    """Say whether a stack is that of who waits for other processes, and not of what they wait for."""
    while frame is not None:
        file = frame.f_code.co_filename
        if WAITS in file or file.endswith(TALKS):
            return True
        if file.startswith(HOUSE):
            return False
        frame = frame.f_back
    return False


def _place(frame: FrameType | None) -> list[tuple[int, int]]:
    """Return where in the program a stack is: that of who computes is soon elsewhere."""
    place = []
    while frame is not None:
        place.append((id(frame.f_code), frame.f_lasti))
        frame = frame.f_back
    return place


def _beats(store: Store, size: int) -> list[Beat]:
    """Return what each process last told."""
    keys = [f"beat/{rank}" for rank in range(size)]
    return [Beat(**json.loads(store.get(key))) if store.check([key]) else UNTOLD for key in keys]
