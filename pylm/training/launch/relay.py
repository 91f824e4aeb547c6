"""What a rank writes and hears that somebody else started, by files that its machine and the launcher's both see.

They are made before the ranks are, and only grow: a network's file system shows within seconds what was added to a file
that it knows, and a name that it did not know within a minute.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TypeVar

from pylm.training.launch.codes import LOST

__all__ = ["SETTLING", "Launcher", "asked_to_leave", "launcher", "left_by_themselves", "run_as_told", "tell"]

BEGUN, OUT, ERR, ASKED, LEFT = "begun", "out", "err", "asked", "left"  # the last two hold a byte for each
ONCE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the second of these waits for nothing
LOOK = 0.2  # seconds
SETTLING = 1.0  # seconds in which a rank that leaves with a sentence has told the others' workers
TOLD = 2000  # characters of what a rank said last
PATIENCE = 30.0  # seconds in which ranks are started where there is room: a cluster on two busy cores takes 15
Result = TypeVar("Result")


class Launcher:
    """Whoever had the ranks started: it shows what the first of them writes, and passes on what it is asked."""

    def __init__(self, folder: Path) -> None:
        """Make the files in a folder."""
        self.folder = folder
        for name in (BEGUN, OUT, ERR, ASKED, LEFT):
            (folder / name).touch()
        self._shown = {OUT: 0, ERR: 0}
        self._asked = 0

    def begun(self) -> bool:
        """Say whether a rank was ever started."""
        return (self.folder / BEGUN).stat().st_size > 0

    def attend(self, work: Callable[[], Result], late: Callable[[], None]) -> Result:
        """Return what work returns that has ranks started; call `late` once where none is after a while."""
        ended: Future[Result] = Future()

        def run() -> None:
            try:
                ended.set_result(work())
            except BaseException as error:
                ended.set_exception(error)

        threading.Thread(target=run, name="pylm-starts-ranks", daemon=True).start()  # signals are for this one
        waits_until = time.monotonic() + PATIENCE
        while not ended.done():
            self.show()
            if time.monotonic() > waits_until and not self.begun():
                late()
                waits_until = float("inf")
            time.sleep(LOOK)
        return ended.result()

    def show(self) -> None:
        """Write what was written since."""
        for name, to in ((OUT, sys.stdout), (ERR, sys.stderr)):
            with (self.folder / name).open("rb") as file:
                file.seek(self._shown[name])
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]  # a letter may be half there
            self._shown[name] += len(whole)
            to.write(whole.decode(errors="replace"))
            to.flush()

    def pass_on(self, number: int, frame: FrameType | None = None) -> None:
        """Ask all ranks what this process was asked; leave at once where none was started, or at the second time."""
        self._asked += number in ONCE
        if not self.begun() or self._asked > 1:
            raise SystemExit(128 + number)
        _add(self.folder / ASKED, number)


@contextmanager
def launcher(beside: Path) -> Iterator[Launcher]:
    """Give what relays between this process and ranks, whose folder lies beside that of the run."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{beside.name}.", dir=beside.parent, ignore_cleanup_errors=True) as folder:
        one = Launcher(Path(folder))
        before = {number: signal.signal(number, one.pass_on) for number in (*ONCE, signal.SIGUSR1)}
        try:
            yield one
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            one.show()


def run_as_told(command: Sequence[str], environ: Mapping[str, str], folder: Path, rank: int) -> int:
    """Run a command that is a rank and hears what the launcher is asked; return its code.

    The first writes for all. What another says last is shown where it alone leaves with a sentence.
    """
    _add(folder / BEGUN, 1)
    told = (folder / ASKED).stat().st_size
    before, own = len(left_by_themselves(folder)), folder / (f"{ERR}.{rank}" if rank else ERR)
    with (Path(os.devnull) if rank else folder / OUT).open("ab") as out, own.open("ab") as err:
        child = subprocess.Popen(command, env=environ, stdout=out, stderr=err)
    while True:
        try:
            code = child.wait(LOOK)
            break
        except subprocess.TimeoutExpired:
            asked = (folder / ASKED).read_bytes()
            for number in asked[told:]:
                child.send_signal(number)
            told = len(asked)
    if -code in list((folder / ASKED).read_bytes()):  # it was asked before there was anything that could be saved
        code = 128 - code
    if code > 0 and code != LOST:
        _add(folder / LEFT, code)
        time.sleep(SETTLING if rank else 0)
        if rank and len(left_by_themselves(folder)) == before + 1:
            tell(folder, f"rank {rank}: {own.read_text(errors='replace').strip()[-TOLD:]}")
    return code


def tell(folder: Path, line: str) -> None:
    """Let the launcher say a line."""
    with (folder / ERR).open("a") as err:
        err.write(line + "\n")


def left_by_themselves(folder: Path) -> bytes:
    """Return the codes of ranks that left by themselves, the first of them first."""
    return (folder / LEFT).read_bytes()


def asked_to_leave(folder: Path) -> int:
    """Return the code of a run that was asked to leave before it began; 0 where none asked."""
    asked = (folder / ASKED).read_bytes()
    return 128 + asked[-1] if asked else 0


def _add(file: Path, byte: int) -> None:
    with file.open("ab") as file_of_all:
        file_of_all.write(bytes([byte]))
