"""Files fetched whole: verified before they get their names, and resumed where they were left."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pylm.config.units import format_bytes
from pylm.data.fetching.checksum import Checksum
from pylm.data.fetching.partial import Part, Spans
from pylm.data.fetching.ranges import HEARTBEAT, RangedDownload
from pylm.data.fetching.remote_file import RangesIgnored, RemoteFile, blocks_of
from pylm.durable import make_folder
from pylm.errors import DataError, UsageError
from pylm.tokenizer.report import Report
from pylm.wording import param

__all__ = ["CONNECTIONS", "PIECE", "disk_is_full", "fetch", "refuse_without_room"]

PIECE = 64 << 20  # bytes that a kill may cost
CONNECTIONS = 4
BLOCK = 1 << 20


def fetch(
    file: RemoteFile,
    to: str | os.PathLike[str],
    *,
    connections: int = CONNECTIONS,
    progress: Report | None = None,
    piece: int = PIECE,
    xet: bool = False,
) -> Path:
    """Fetch a file to where its content is then the published one, to the byte; return the path.

    What was interrupted is gone on with. A copy that huggingface_hub has on this machine is taken in place of the
    network, and checked as well. Without a published hash only the size is checked.

    Args:
        file: what to fetch.
        to: the path that it gets.
        connections: how many connections share a file larger than `piece`.
        progress: told how many bytes are there, about five times a second.
        piece: how many bytes may be fetched anew after a kill.
        xet: by huggingface_hub with hf_xet, where these are installed.
    """
    to = Path(to)
    try:
        return _fetch(file, to, connections, progress or (lambda *args, **more: None), piece, xet)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise disk_is_full(to.parent, file.name) from None
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise DataError(f"{to} cannot be written: a folder of it is a file", "choose another folder") from None
        raise DataError(f"{to} cannot be written: {(error.strerror or str(error)).lower()}") from None


def _fetch(file: RemoteFile, to: Path, connections: int, progress: Report, piece: int, xet: bool) -> Path:
    if _is_here(file, to):
        return to
    make_folder(to.parent)
    if xet and file.by_xet is None:
        raise UsageError(f"{file.name} is no file of the Hub: leave out {param('xet', True)}")
    for _ in range(2):  # what is left of an earlier time may be what is wrong: once more from the beginning
        with Part(to, file.identity, file.size or 0, file.client.access.say) as part:
            if _is_here(file, to):  # another process was faster
                part.discard()
                return to
            _check_disk(file, part, xet)
            checksum = _fill(file, part, connections, progress, piece, xet)
            if checksum.is_right():
                part.finish()
                return to
            part.discard()
            file.forget()
    raise checksum.error()


def _fill(file: RemoteFile, part: Part, connections: int, progress: Report, piece: int, xet: bool) -> Checksum:
    """Bring all bytes of a file into a part, and return their hash."""

    def report(done: int) -> None:
        progress(done, file.size, phase=file.path, unit="bytes")

    report(part.size - part.lacking)
    if (copy := file.local()) is not None:
        checksum = _pour(file, part, blocks_of(copy), 0, report)
        if checksum.is_right():
            return checksum
        part.spans = Spans([])  # the copy is not the published file: it is fetched
    if xet and file.by_xet is not None:
        folder = part.path.with_name(part.path.name + ".xet")
        checksum = _pour(file, part, blocks_of(file.by_xet(folder)), 0, report)
        shutil.rmtree(folder)
        return checksum
    if file.size is None or file.size <= piece:
        start = part.spans.frontier()
        return _pour(file, part, file.blocks(start, file.size), start, report)
    try:
        return RangedDownload(file, part, connections, piece, report).run()
    except RangesIgnored:
        return RangedDownload(file, part, 1, piece, report).run(are_ranges_served=False)


def _pour(file: RemoteFile, part: Part, blocks: Iterator[bytes], start: int, report: Callable[[int], None]) -> Checksum:
    """Write blocks from a byte on, hashing as they come, and return the hash of the whole."""
    checksum, at, told = file.checksum(), 0, 0.0
    with part.path.open("r+b", buffering=0) as out:
        while at < start:
            at += len(block := out.read(min(BLOCK, start - at)))
            checksum.update(block)
        try:
            for block in blocks:
                view = memoryview(block)
                while view:
                    view = view[out.write(view) :]
                checksum.update(block)
                at += len(block)
                if (now := time.monotonic()) - told > HEARTBEAT:
                    told = now
                    report(at)
        except BaseException:
            if file.size is not None and at > start:
                part.record([(0, at)])
            raise
    part.size = at
    report(at)
    return checksum


def _is_here(file: RemoteFile, to: Path) -> bool:
    """Say whether the file is there already; another file of that name is not overwritten."""
    if to.is_dir():
        raise DataError(f"{to} is a folder: {file.name} is a file", "name the file that it is to become")
    if not to.is_file():
        return False
    if file.size in (None, to.stat().st_size) and file.is_in(to):
        return True
    raise DataError(f"{to} is another file than {file.name}", "move it away: nothing of yours is overwritten")


def _check_disk(file: RemoteFile, part: Part, xet: bool) -> None:
    """Refuse what does not fit, before it is fetched."""
    need = part.lacking
    need += part.size if xet else 0  # huggingface_hub's own copy, until it is checked
    refuse_without_room(need, part.to.parent, file.name)


def disk_is_full(folder: Path, name: str) -> DataError:
    """Return what is said where a disk has no more room for what is written to a folder."""
    return DataError(f"the disk of {folder} is full: {name} is not whole", "make room: what is here is kept")


def refuse_without_room(need: int, folder: Path, name: str) -> None:
    """Raise where a folder's disk has less room than is needed."""
    free = shutil.disk_usage(folder).free
    if need > free:
        raise DataError(
            f"{name} needs {format_bytes(need)} more, and the disk of {folder} has {format_bytes(free)} left",
            "make room, or choose a folder on another disk",
        )
