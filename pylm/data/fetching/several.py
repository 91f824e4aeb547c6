"""Many files fetched into a folder: small ones side by side, large ones by ranges."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from pylm.data.fetching.download import CONNECTIONS, PIECE, fetch, refuse_without_room
from pylm.data.fetching.remote_file import RemoteFile
from pylm.durable import make_folder
from pylm.tokenizer.report import Report

__all__ = ["fetch_all"]


def fetch_all(
    files: Sequence[RemoteFile],
    folder: str | os.PathLike[str],
    *,
    connections: int = CONNECTIONS,
    progress: Report | None = None,
    piece: int = PIECE,
    xet: bool = False,
) -> list[Path]:
    """Fetch files into a folder, each at its own path; return their paths in the order of the files.

    Whether all of them fit is asked first. The arguments are those of `fetch`.
    """
    folder = Path(folder)
    paths = [folder / file.path for file in files]
    make_folder(folder)
    refuse_without_room(sum(map(_lacking, files, paths)), folder, f"a set of {len(files)} files")
    total = Total(progress, sum(file.size or 0 for file in files))

    def one(number: int, connections: int) -> None:
        report = total.of(number)
        fetch(files[number], paths[number], connections=connections, progress=report, piece=piece, xet=xet)
        report(files[number].size or 0)  # also of one that was there

    is_small = [file.size is not None and file.size <= piece and not xet for file in files]
    side_by_side([partial(one, n, 1) for n, small in enumerate(is_small) if small], connections)
    for number, small in enumerate(is_small):
        if not small:
            one(number, connections)
    return paths


def _lacking(file: RemoteFile, path: Path) -> int:
    """Return the bytes of a file that are not on the disk."""
    if path.exists():
        return 0
    part = path.with_name(f"{path.name}.part")
    here = part.stat().st_blocks * 512 if part.exists() else 0
    return max(0, (file.size or 0) - here)


class Total:
    """The progress of several files as that of one, told by any number of threads."""

    def __init__(self, progress: Report | None, size: int) -> None:
        """`size` is that of all of them."""
        self.progress, self.size = progress, size
        self.done: dict[int, float] = {}
        self.lock = threading.Lock()

    def of(self, number: int) -> Report:
        """Return what one of the files is to be reported to."""

        def report(
            done: float,
            total: float | None = None,
            *,
            phase: str | None = None,
            unit: str | None = None,
            note: str = "",
        ) -> None:
            with self.lock:
                self.done[number] = done
                if self.progress is not None:
                    self.progress(sum(self.done.values()), self.size, phase="fetch", unit="bytes")

        return report


def side_by_side(tasks: Sequence[Callable[[], None]], threads: int) -> None:
    """Run tasks on a few threads, which Ctrl-C does not wait for, and raise the first error."""
    waiting, ended = deque(tasks), SimpleQueue[BaseException | None]()

    def work() -> None:
        problem = None
        try:
            while (task := _next(waiting)) is not None:
                task()
        except BaseException as error:
            problem = error
        ended.put(problem)

    count = min(threads, len(tasks))
    try:
        for _ in range(count):
            threading.Thread(target=work, daemon=True).start()
        for _ in range(count):
            if (problem := ended.get()) is not None:
                raise problem
    finally:
        waiting.clear()


def _next(waiting: deque[Callable[[], None]]) -> Callable[[], None] | None:
    try:
        return waiting.popleft()
    except IndexError:
        return None
