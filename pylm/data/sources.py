"""Where text comes from and how it is read, for those who read all of it in Rust."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pylm import _rust
from pylm.data.streaming.files import END, Files, Reading
from pylm.data.streaming.grammar import hub_name, kind_of
from pylm.data.streaming.several import Joined
from pylm.data.streaming.spooling import spooled
from pylm.data.streaming.steps import Limit, Mapped, Taken
from pylm.data.streaming.stream import Stream
from pylm.data.streaming.stream_of import named, refuse_for_strings, several_of, stream_of
from pylm.tokenizer.standard_input import copied, is_json_object
from pylm.tokenizer.unfinished import unfinished

if TYPE_CHECKING:
    from pylm.tokenizer.report import Report

__all__ = ["END", "Opened", "Sources", "default_folder", "opened"]

LONGEST_NAME = 100  # characters of a folder's name
SUFFIXES = re.compile(
    r"(\.(txt|text|md|jsonl|ndjson|json|csv|tsv|parquet|tar|tgz|tzst|(warc\.)?wet|warc))?(\.(gz|zst|zstd))?$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Sources:
    """The sources of text, and how they are read.

    Attributes:
        parts: What they are, one after another.
        reading: How files of them are read.
    """

    parts: tuple[Stream, ...]
    reading: Reading

    @classmethod
    def of(cls, sources: Any, **reading: Any) -> Sources:
        """Return the sources of whatever `pylm.data.source` takes, one or several."""
        stream = stream_of(sources, Reading(**reading))
        parts = stream.streams if isinstance(stream, Joined) else (stream,)
        readings = [part.reading for part in parts if isinstance(part, Files)]
        # the name of a data set may name its column too
        alike = readings and all(one == readings[0] for one in readings)
        how = readings[0] if alike else Reading(**reading)
        if not readings:
            refuse_for_strings(parts, how)
            how = replace(how, column=None)  # rows were read by it, and are lines by now
        return cls(parts, how)


class Opened(NamedTuple):
    """What Rust is handed for sources: paths and objects, the file that stdin was written to, whether that is jsonl."""

    files: list[Any]
    stdin: Path | None = None
    is_jsonl: bool = False

    def look(self) -> tuple[int, list[str]]:
        """Return about how many bytes of text there are, and what may surprise of them; refuse what is no text."""
        _, text_bytes, remarks = _rust.look_at_sources(*self)
        return text_bytes, remarks


@contextmanager
def opened(
    sources: Sources,
    folder: Path | None,
    limits: Sequence[Limit] = (),
    progress: Report | None = None,
    *,
    rows: bool = False,
) -> Iterator[Opened]:
    """Give what Rust reads of the sources, for as long as the block takes.

    A source is read more than once: for a sample, for the tokenizer, for the shards. So stdin, and what Python alone
    can read, are written to files beside `folder`, which go at the end.

    Args:
        sources: What is read.
        folder: What it is read for; where there is none, the files lie with the system's temporary ones.
        limits: Nobody reads beyond the first of these.
        progress: Called now and then while texts are written.
        rows: Whether what else a source says of a document is written beside its text.
    """

    def report(written: int) -> None:
        if progress is not None:
            progress(written, None, phase="read", unit="bytes")

    direct = [part for part in sources.parts if isinstance(part, Files) and part.reading == sources.reading]
    has_stdin = any("-" in part.names for part in direct)
    needs_scratch = has_stdin or len(direct) < len(sources.parts)
    with _scratch(folder) if needs_scratch else nullcontext(Path()) as scratch:
        text = Opened([])
        if has_stdin:
            text = _stdin(scratch, sources.reading.field is not None)
        for number, part in enumerate(sources.parts):
            if isinstance(part, Files) and part in direct:
                text.files.extend(part.resolved)
                continue
            for limit in limits:  # what nowhere ends is written as far as it is taken; empty texts are no documents
                part = Taken(Mapped(part, lambda document: document if document.text else None), limit)
            file, key = scratch / f"{number}.jsonl", sources.reading.field or "text"
            text.files.append(spooled(part, file, key, report, rows=rows))
        yield text


def _scratch(folder: Path | None) -> AbstractContextManager[Path]:
    if folder is None:
        return _temporary()
    folder.parent.mkdir(parents=True, exist_ok=True)
    return unfinished(folder, "stdin")


@contextmanager
def _temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pylm-text-") as folder:
        yield Path(folder)


def _stdin(scratch: Path, is_jsonl: bool) -> Opened:
    path = scratch / "stdin"
    with path.open("w+b") as file:
        first = copied(file)
    is_jsonl = is_jsonl or is_json_object(first)
    # the suffix is how the trainer, which is given a path, knows what is in it
    whole = path.with_suffix(_suffix(first, is_jsonl))
    os.replace(path, whole)
    return Opened([], whole, is_jsonl)


def _suffix(first: bytes, is_jsonl: bool) -> str:
    if first[:4] == b"PAR1":
        return ".parquet"
    plain = ".jsonl" if is_jsonl else ".txt"
    if first[:2] == b"\x1f\x8b":
        return f"{plain}.gz"
    return f"{plain}.zst" if first[:4] == b"\x28\xb5\x2f\xfd" else plain


def default_folder(sources: Any) -> Path:
    """Return `data/` and the name of the first source without its suffixes, or of those that are mixed."""
    several = several_of(sources)
    if len(several) > 1 and all(isinstance(one, tuple | Mapping) for one in several):
        return Path("data") / "-".join(default_folder(one).name for one in several)[:LONGEST_NAME]
    first = named(next(iter(several), ""))
    if first is None:
        return Path("data") / "text"
    kind = kind_of(first)
    if kind in ("stdin", "text"):
        return Path("data") / kind
    if kind == "hub":
        hub = hub_name(first)
        return Path("data") / _plain("-".join(filter(None, (hub.id.rpartition("/")[2], hub.config, hub.split))))
    if kind == "data":
        return Path("data") / _plain(first.removeprefix("data:"))
    if kind == "url":
        first = _plain(re.split(r"[?#]", first)[0].rstrip("/").rpartition("/")[2])
    path = Path(re.split(r"[*?\[]", first)[0].rstrip("/") or ".")
    name = path.resolve().name if path.name in ("", ".", "..") else path.name
    if not path.is_dir():
        name = SUFFIXES.sub("", name)
    name = re.sub("[\udc80-\udcff]", "_", name)  # bytes of a name that are no UTF-8, which no line could print
    return Path("data") / (name or "text")


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "text"
