"""The beginning of a dataset as one jsonl file: its documents in order, up to the one that reaches a limit."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pylm.data.catalogue import Entry
from pylm.data.fetching.download import disk_is_full, refuse_without_room
from pylm.data.getting import manifest
from pylm.data.getting.amount import Amount, Count
from pylm.data.getting.counts import Counts
from pylm.data.getting.parquet_rows import row_of, rows_of_groups
from pylm.data.getting.texts import Batch, batches
from pylm.durable import flush_folder, make_folder, replace_text
from pylm.errors import DataError

if TYPE_CHECKING:
    from pylm.data.catalogue.files import Found
    from pylm.data.fetching import RemoteFile
    from pylm.tokenizer.report import Report

__all__ = ["NAME", "Cutting", "cut", "settle"]

NAME = "text_00000.jsonl"
SAVED_EVERY = 64 << 20  # bytes that a kill may cost
SAVED_AFTER = 5.0  # seconds


@dataclass
class Cutting:
    """How far a cut has come: all that going on with it needs."""

    request: Mapping[str, Any]
    part: int = 0
    file: int = 0
    position: Mapping[str, int] | None = None
    written: int = 0
    reached: int = 0
    documents: int = 0
    bytes: int = 0
    last: dict[str, Any] | None = None
    languages: dict[str, dict[str, int]] = field(default_factory=dict)


def cut(
    one: Entry,
    parts: Sequence[Found],
    folder: Path,
    amount: Amount,
    count: Count,
    *,
    request: Mapping[str, Any],
    opened: Callable[[RemoteFile], Path] | None,
    progress: Report | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Write the documents that reach an amount into a folder; return what its manifest says of them.

    An interrupted cut goes on where it was, and is then the same to the byte.

    Args:
        one: The dataset.
        parts: Its files, and those of what it is made of.
        folder: Where `text_00000.jsonl` is written.
        amount: Where to stop.
        count: Counts documents in the amount's unit.
        request: What decides the bytes: another request begins anew.
        opened: Returns a copy of a file that is read in its place.
        progress: Told how far it has come.
        say: Told sentences.
    """
    make_folder(folder)
    with _full_disk_said(folder, one.full_name), _Writer(folder / NAME, request, bool(one.of)) as out:
        refuse_without_room((amount.bytes or 0) - out.state.written, folder, one.full_name)
        is_reached = out.state.reached >= amount.number  # it was killed before the file had its name
        for batch, number in () if is_reached else _batches(parts, out.state, opened):
            numbers = count(batch.texts, batch.counts)
            taken = _reaching(numbers, amount.number - out.state.reached)
            out.add(batch, taken, sum(numbers[:taken]), parts[number], number)
            if progress is not None:
                progress(out.state.reached, amount.number, phase="read", unit=amount.unit)
            if out.state.reached >= amount.number:
                break
        out.finish()
    state = out.state
    if state.reached < amount.number:
        say(f"{one.name} has no more than {state.reached:,} {amount.unit}: all of it is here")
    counts = Counts(state.languages)
    for line in counts.lines():
        say(line)
    slice_ = {key: getattr(state, key) for key in ("documents", "bytes", "reached")}
    last = {} if state.last is None else _last(state.last, _Opened(parts[state.part].read, opened)[state.file])
    return {
        "files": [manifest.of_file(NAME, state.written, {"sha256": manifest.sha256_of(folder / NAME)}, one.full_name)],
        "slice": {"unit": amount.unit, "limit": amount.number, **slice_, "last": last},
        **({"counts": counts.by_language} if one.of else {}),
    }


@contextmanager
def _full_disk_said(folder: Path, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise disk_is_full(folder, name) from None
        raise


def _batches(
    parts: Sequence[Found], state: Cutting, opened: Callable[[RemoteFile], Path] | None
) -> Iterator[tuple[Batch, int]]:
    """Yield the batches of all parts from where a cut is, each with the number of its part."""
    first = state.part
    for number in range(first, len(parts)):
        start = (state.file, state.position) if number == first else (0, None)
        part = parts[number]
        for batch in batches(part.entry, _Opened(part.read, opened), counted=True, start=start):
            yield batch, number


def _last(place: Mapping[str, Any], file: Any) -> dict[str, Any]:
    """Return where the last document lies: its row group and row, else how many documents it is after which place.

    Rows without text are no documents: among such rows nobody can tell which one it is.
    """
    name, begins, ends = str(place["file"]), place["begins"], place["ends"]
    if name.endswith(".parquet"):
        groups = rows_of_groups(file.stat().st_size if isinstance(file, Path) else file.size, partial(_read, file))
        first, behind = (sum(groups[: at["at"]]) + at["row"] for at in (begins, ends))
        if (sum(groups) if ends["file"] else behind) - first == place["read"]:
            group, row = row_of(groups, first + place["further"])
            return {"file": name, "row_group": group, "row": row}
    return {"file": name, **{key: begins[key] for key in ("at", "row", "line")}, "further": place["further"]}


def _read(file: Any, start: int, length: int) -> bytes:
    """Return bytes of a file, here or elsewhere."""
    if not isinstance(file, Path):
        return bytes(file.read(start, length))
    with file.open("rb") as opened:
        opened.seek(start)
        return opened.read(length)


class _Opened(Sequence[Any]):
    """Files that are opened, or stored, when their turn comes."""

    def __init__(self, files: Sequence[RemoteFile], opened: Callable[[RemoteFile], Path] | None) -> None:
        self.files, self.opened = files, opened

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: Any) -> Any:
        file = self.files[number]
        return file if self.opened is None else self.opened(file)


def _reaching(numbers: Sequence[int], missing: int) -> int:
    """Return how many of these numbers reach what is missing; all of them where they do not."""
    for taken, number in enumerate(numbers, 1):
        if (missing := missing - number) <= 0:
            return taken
    return len(numbers)


class _Writer:
    """The jsonl file while it grows, under another name, with the state of the cut beside it."""

    def __init__(self, path: Path, request: Mapping[str, Any], by_language: bool) -> None:
        self.path, self.by_language = path, by_language
        self.partial, self.beside = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
        self.state = Cutting(request)
        self.saved, self.at = 0, time.monotonic()
        self.file: IO[bytes]

    def __enter__(self) -> _Writer:
        self.file = self.partial.open("ab")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self.file.fileno()), self.partial.stat()):
                raise FileNotFoundError
            self._take_up()
        except (BlockingIOError, FileNotFoundError):  # also who has just given it its name
            self.file.close()
            raise DataError(f"another process writes {self.path}", "wait for it, or name another folder") from None
        except BaseException:
            self.file.close()
            raise
        return self

    def _take_up(self) -> None:
        """Go on where an earlier cut of the same request came to; a file of somebody else is left alone."""
        left = Cutting(self.state.request)
        with suppress(OSError, ValueError, TypeError, KeyError):
            kept = Cutting(**json.loads(self.beside.read_text(encoding="utf-8")))
            counted = (kept.part, kept.file, kept.written, kept.reached, kept.documents, kept.bytes)
            left = kept if all(type(number) is int and number >= 0 for number in counted) else left
        is_whole = self.path.exists()
        held = self.path if is_whole else self.partial
        if left.request == self.state.request and held.stat().st_size >= left.written:
            self.state, self.saved = left, left.written
        if is_whole and not 0 < self.state.written == held.stat().st_size:
            self.partial.unlink()
            raise DataError(f"{self.path} is there, and is something else", "move it away: nothing is overwritten")
        if not is_whole:
            self.file.truncate(self.state.written)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            with suppress(OSError):  # what went wrong may be the disk
                self.save()
        self.file.close()

    def add(self, batch: Batch, taken: int, reached: int, part: Found, number: int) -> None:
        """Write the first `taken` documents of a batch, which are `reached` of the amount."""
        texts, state = batch.texts[:taken], self.state
        block = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()
        self.file.write(block)
        counts = Counts({language: dict(counted) for language, counted in state.languages.items()})
        if self.by_language:
            counts.add(part.entry.spoken, texts)
        place = {"begins": batch.begins, "ends": batch.ends, "read": batch.read}
        # in one assignment: Ctrl-C between two would leave a state that never was
        self.state = Cutting(
            state.request,
            part=number,
            file=batch.file,
            position=batch.ends,
            written=state.written + len(block),
            reached=state.reached + reached,
            documents=state.documents + taken,
            bytes=state.bytes + sum(len(text.encode()) for text in texts),
            last={"file": batch.name, **place, "further": batch.rows[taken - 1]} if taken else state.last,
            languages=counts.by_language,
        )
        if self.state.written - self.saved >= SAVED_EVERY or time.monotonic() - self.at >= SAVED_AFTER:
            self.save()

    def save(self) -> None:
        """Make what was written durable, and then the state that says so."""
        self.file.flush()
        os.fsync(self.file.fileno())
        replace_text(self.beside, json.dumps(asdict(self.state)), self.beside.with_name(f".{self.beside.name}"))
        self.saved, self.at = self.state.written, time.monotonic()

    def finish(self) -> None:
        """Give the file its name, unless it was killed after it had that; `settle` removes what is left."""
        if self.path.exists():
            self.partial.unlink()
            return
        self.save()
        os.replace(self.partial, self.path)
        flush_folder(self.path.parent)


def settle(folder: Path) -> None:
    """Remove the state of a cut that its manifest makes whole."""
    (folder / f"{NAME}.part.json").unlink(missing_ok=True)
