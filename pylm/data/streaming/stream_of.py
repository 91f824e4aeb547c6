"""`pylm.data.source`: documents of whatever a caller has, as one thing to iterate."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from pylm.data.streaming.document import Document
from pylm.data.streaming.files import END, Files, Reading
from pylm.data.streaming.grammar import hub_name, is_path, kind_of, nearest
from pylm.data.streaming.items import Items
from pylm.data.streaming.iteration import Source
from pylm.data.streaming.several import Joined, Mixed
from pylm.data.streaming.steps import Limit, Taken
from pylm.data.streaming.stream import Stream
from pylm.errors import DataError, UsageError, did_you_mean, warn
from pylm.wording import param

__all__ = ["called", "named", "refuse_for_strings", "several_of", "source", "stream_of"]

TEXT = "text:"
LONGEST_NAME, SHOWN = 1000, 40  # characters
LIMITS = ("documents", "bytes", "tokens")
READING = tuple(each.name for each in fields(Reading))
ENTRY = ("source", "weight", *LIMITS, "tokenizer", *READING)  # the keys of one of several


def source(
    x: Any,
    *,
    split: str = END,
    field: str | None = None,
    column: str | None = None,
    invalid: str = "error",
    skip_bad: bool = False,
    meta: bool = True,
    allow_private: bool = False,
) -> Source:
    """Return the documents of whatever holds text, to be iterated again and again.

    ::

        pylm.data.source("books/").take(100)
        pylm.data.source("hub:roneneldan/TinyStories@main", meta=False)
        pylm.data.source([("wiki.jsonl", 0.7), (({"text": row} for row in rows), 0.3)])

    Args:
        x: One of these, or a list of them, which are read one after another:

            - a file, a folder or a glob; `-` for stdin; `text:…` for the text itself
            - a URL; `hub:ORG/NAME[@REV][:CONFIG[:SPLIT[:COLUMN]]]`; a name of the catalogue, such as `tinystories_10M`
            - an iterable of strings or of rows by name, or a function that returns one; a data set of `datasets`;
              a column of a data frame
            - a pair of one of these and its weight, or `{"source": …, "weight": …, "tokens": …}` with the most that is
              taken of it, in documents, bytes or tokens. Weights are shares of the bytes of text, kept at every point:
              what is mixed so ends where one of its sources does.
        split: What stands between documents of a plain text: a string, `blank` (blank lines), `line` or `file`.
        field: The key of a jsonl line or a row that holds the text; `text` if not given.
        column: The column of a table that holds the text; `text` if not given.
        invalid: `error` or `replace`: what to do with bytes that are no UTF-8.
        skip_bad: Whether to leave out broken jsonl lines.
        meta: Whether documents bring the other keys and columns of their rows. Without them less is read.
        allow_private: Whether addresses of this machine and its own network may be read.
    """
    several = several_of(x)
    once = x if len(several) == 1 else _once(several, by=lambda each: each if isinstance(each, str) else id(each))
    reading = Reading(split, field, column, invalid, skip_bad, allow_private)
    stream = stream_of(once, reading)
    refuse_for_strings(stream.streams if isinstance(stream, Joined) else (stream,), reading)
    return Source(stream if meta else stream.without_meta())


def refuse_for_strings(parts: Sequence[Stream], reading: Reading) -> None:
    """Refuse the name of a key where every source is a text that was given as it is."""
    for name, value in (("field", reading.field), ("column", reading.column)):
        if value is not None and all(isinstance(part, Items) and part.name == TEXT for part in parts):
            raise UsageError(
                f"{param(name, value)} names a key of rows, and no source has any", f"leave out {param(name)}"
            )


def stream_of(x: Any, reading: Reading) -> Stream:
    """Return the stream of what `source` takes."""
    if isinstance(x, Source):
        return x.stream
    if isinstance(x, str):
        return _of_name(x, reading)
    if isinstance(x, os.PathLike):
        path = os.fsdecode(os.fspath(x))
        return Files((path if kind_of(path) in ("path", "stdin") else f"./{path}",), reading)
    if isinstance(x, bytes):
        raise UsageError("bytes are neither a name nor a text", "give a str: a path, or text: and the text itself")
    if isinstance(x, Document) or _is_pair(x):
        return _of_several([x], reading)
    if isinstance(x, Mapping):
        if type(x).__name__ in ("DatasetDict", "IterableDatasetDict"):
            raise UsageError(f"this {called(x)} has splits: {', '.join(x)}", f"give one of them: x[{next(iter(x))!r}]")
        return _of_several(list(several_of(x)), reading)
    if isinstance(x, list | tuple):
        return _of_several(x, reading)
    if hasattr(x, "identity") and hasattr(x, "read"):  # a file that lies elsewhere
        return Files((x,), reading)
    return _of_iterable(x, reading)


def several_of(x: Any) -> Sequence[Any]:
    """Return the sources that a list or a mixture names, or the one source that it is."""
    if isinstance(x, Mapping) and _are_weights(x):
        return list(x.items())
    if not isinstance(x, list | tuple) or isinstance(x, Document) or _is_pair(x) or _are_rows(x):
        return [x]
    return x


def named(x: Any) -> str | None:
    """Return the name that one source was given by; None where it is an object."""
    if isinstance(x, str | os.PathLike):
        return os.fsdecode(os.fspath(x))
    if _is_pair(x):
        return named(x[0])
    if isinstance(x, Mapping) and "source" in x:
        return named(x["source"])
    name = getattr(x, "name", None) if hasattr(x, "identity") else None
    return name if isinstance(name, str) else None


def called(x: Any) -> str:
    """Return how a sentence calls one source."""
    return named(x) or type(x).__name__


def _of_name(name: str, reading: Reading) -> Stream:
    kind = kind_of(name)
    if kind == "text":
        return Items([name.removeprefix(TEXT)], "text", TEXT)
    if kind == "path" and not is_path(name):
        _refuse_unknown(name)
    if kind == "data":
        from pylm.data.streaming.datasets import dataset_of

        return dataset_of(name, reading)
    if kind == "hub" and (column := hub_name(name).column) is not None:
        reading = replace(reading, column=column)
    return Files((name,), reading)


def _refuse_unknown(name: str) -> None:
    """Refuse a name that was meant for something else; of a path that leads nowhere, its reader says so."""
    if "\n" in name or len(name) > LONGEST_NAME:
        shown = " ".join(name[:SHOWN].split())
        raise UsageError(
            f"{shown}… is no name of a source", "text: in front makes it the text itself, and lambda: TEXTS several"
        )
    if (hint := nearest(name)) is not None:
        raise DataError(f"{name} is no file, and no name of the catalogue", hint)


def _of_several(several: Sequence[Any], reading: Reading) -> Stream:
    if not several:
        raise UsageError("no source was given", "name a file, a folder, a glob, or - for stdin")
    if _are_rows(several, key := _key(reading)):
        return Items(several, key, "list")
    # of names that are the same, whoever reads the files says it: they may be one file by other names too
    once = _once(several, by=lambda each: object() if isinstance(each, str | os.PathLike) else id(each))
    streams, weights = zip(*(_part(each, reading) for each in once), strict=True)
    if any(weight is None for weight in weights) and any(weight is not None for weight in weights):
        name = streams[weights.index(None)].name
        raise UsageError(f"{name} has no weight, and another source has one", "give each a weight, or none")
    if weights[0] is not None and len(streams) > 1:
        return Mixed(streams, weights)
    joined = _in_one(streams)
    return joined[0] if len(joined) == 1 else Joined(tuple(joined))


def _once(several: Sequence[Any], by: Callable[[Any], Any]) -> list[Any]:
    """Leave out what is given again, and say so."""
    once, seen = [], set()
    for each in several:
        if by(each) in seen:
            warn(f"{called(each)} is given more than once, and taken once")
            continue
        seen.add(by(each))
        once.append(each)
    return once


def _part(x: Any, reading: Reading) -> tuple[Stream, float | None]:
    """Return what one of several is, and its weight if it has one."""
    if _is_pair(x):
        return stream_of(x[0], reading), _weight(x[1])
    if not isinstance(x, Mapping):
        return stream_of(x, reading), None
    for key in x:
        if key not in ENTRY:
            hint = did_you_mean(str(key), ENTRY) or f"a source of several has {', '.join(ENTRY)}"
            raise UsageError(f"a source has no {key!r}", hint)
    own = {key: x[key] for key in READING if key in x}
    stream = stream_of(x["source"], replace(reading, **own))
    limit = {key: x[key] for key in (*LIMITS, "tokenizer") if key in x}
    if limit:
        stream = Taken(stream, Limit.of(**limit))
    return stream, None if x.get("weight") is None else _weight(x["weight"])


def _in_one(streams: Sequence[Stream]) -> list[Stream]:
    """Join files that follow each other and are read alike: their threads read ahead from one into the next."""
    joined: list[Stream] = []
    for stream in streams:
        last = joined[-1] if joined else None
        if isinstance(stream, Files) and isinstance(last, Files) and stream.reading == last.reading:
            joined[-1] = replace(last, names=(*last.names, *stream.names))
        else:
            joined.append(stream)
    return joined


def _of_iterable(x: Any, reading: Reading) -> Stream:
    name = called(x)
    if hasattr(x, "columns") and hasattr(x, "__getitem__"):  # a data frame: its iterator gives names or columns
        # what pyarrow calls columns are their values
        names = x.column_names if type(x).__module__ == "pyarrow.lib" else x.columns
        column, columns = _key(reading), [str(each) for each in names]
        if column not in columns:
            hint = did_you_mean(column, columns) or f"name one of its columns with {param('column')}"
            raise UsageError(f"this {name} has no column {column!r}, but {', '.join(columns) or 'none'}", hint)
        return Items(x[column], column, name)
    if not hasattr(x, "__iter__") and not callable(x):
        raise UsageError(
            f"this {name} holds no text that could be read",
            "give a path, a name, or an iterable of strings or of rows",
        )
    return Items(x, _key(reading), name)


def _key(reading: Reading) -> str:
    """Return the key under which rows hold their text: by whichever of the two names it was given."""
    return reading.field or reading.column or "text"


def _is_pair(x: Any) -> bool:
    return isinstance(x, tuple) and not isinstance(x, Document) and len(x) == 2 and _is_number(x[1])


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)


def _are_rows(several: Sequence[Any], key: str = "text") -> bool:
    """Say whether a list holds documents rather than sources; a row may have a key `source` beside its text."""
    return bool(several) and all(
        isinstance(each, Document) or (isinstance(each, Mapping) and ("source" not in each or key in each))
        for each in several
    )


def _are_weights(x: Mapping[Any, Any]) -> bool:
    """Say whether a mapping gives a weight to each source."""
    return bool(x) and all(_is_number(weight) for weight in x.values())


def _weight(weight: Any) -> float:
    if not _is_number(weight) or not 0 < weight < math.inf:
        raise UsageError(f"the weight {weight!r} is no share", "give a number above 0, such as 0.7")
    return float(weight)
