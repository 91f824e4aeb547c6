"""All of a dataset: its published files as they are, each at its own path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.data.catalogue import Entry
from pylm.data.catalogue.files import Unopened
from pylm.data.catalogue.here import MANIFEST
from pylm.data.getting import manifest
from pylm.data.getting.counts import Counts
from pylm.data.getting.texts import batches
from pylm.errors import DataError
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.data.catalogue.files import Found
    from pylm.data.fetching import RemoteFile
    from pylm.tokenizer.report import Report

__all__ = ["described", "fetch_whole", "folder_name"]

BESIDE = (".part", ".part.json", ".part.json.new", ".part.xet")  # ends of what lies beside a file on its way


def fetch_whole(
    one: Entry,
    parts: Sequence[Found],
    folder: Path,
    *,
    xet: bool,
    progress: Report | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Fetch every file of a dataset into a folder, verified; return what its manifest says of them.

    What is made of several datasets gets a folder for each.
    """
    files, counts = [], Counts()
    for part in parts:
        _refuse_taken_names(part, {MANIFEST} if len(parts) == 1 else set())
    for part in parts:
        home = "" if len(parts) == 1 else folder_name(part.entry)
        fetched = {file.name: (file, path) for file, path in _fetched(part, folder / home, xet, progress)}
        files += [described(file, path, f"{home}/{file.path}".lstrip("/")) for file, path in fetched.values()]
        if one.of and one.kind == "text":
            read = [fetched[file.name][1] for file in part.read]
            for batch in batches(part.entry, read, counted=False):
                counts.add(part.entry.spoken, batch.texts)
                if progress is not None:
                    progress(counts.bytes, phase="count", unit="bytes")
    for line in counts.lines():
        say(line)
    return {"files": files, **({"counts": counts.by_language} if counts.by_language else {})}


def _refuse_taken_names(part: Found, taken: set[str]) -> None:
    """Refuse a file whose name is also that of one that is written here: either would take the other's place."""
    taken = taken | {file.path + end for file in part.known for end in BESIDE}
    for file in part.known:
        if file.path in taken:
            raise DataError(
                f"{file.name} has a name that pylm gives to a file of its own: nothing was fetched",
                f"read it without getting it whole, or take its beginning with {param('limit', '100Mtok')}",
            )


def _fetched(part: Found, folder: Path, xet: bool, progress: Report | None) -> Iterator[tuple[RemoteFile, Path]]:
    """Fetch the files of a part, and yield each with its path; those at many addresses are asked for one by one."""
    from pylm.data.fetching import fetch_all

    for files in part.splits.values():
        for some in ([file] for file in files) if isinstance(files, Unopened) else [files]:
            yield from zip(some, fetch_all(some, folder, progress=progress, xet=xet), strict=True)


def folder_name(one: Entry) -> str:
    """Return the name of a folder for a dataset: its own, but for signs that no folder should have."""
    return re.sub(r"[^\w.-]+", "--", one.full_name.removeprefix("hub:").replace(":", "-")).strip("-.")


def described(file: RemoteFile, path: Path, relative: str) -> dict[str, Any]:
    """Return what a manifest says of a fetched file: with the published hash, or with its own where there is none."""
    if file.sha256:
        hashes = {"sha256": file.sha256}
    elif file.git_sha1:
        hashes = {"git_sha1": file.git_sha1}
    else:  # nobody published one: what came is written down
        hashes = {"sha256": manifest.sha256_of(path)}
    return manifest.of_file(relative, path.stat().st_size, hashes, file.name)
