"""All of a dataset: its published files as they are, each at its own path."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.data.catalogue import Entry
from pylm.data.catalogue.here import take_copies
from pylm.data.getting import manifest
from pylm.data.getting.counts import Counts
from pylm.data.getting.texts import batches

if TYPE_CHECKING:
    from pylm.data.catalogue.files import Found
    from pylm.data.fetching import RemoteFile
    from pylm.tokenizer.report import Report

__all__ = ["described", "fetch_whole", "folder_name"]


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
    from pylm.data.fetching import fetch_all

    files, counts = [], Counts()
    for part in parts:
        home = "" if len(parts) == 1 else folder_name(part.entry)
        wanted = [file for each in part.splits.values() for file in each]
        take_copies(wanted)
        paths = fetch_all(wanted, folder / home, progress=progress, xet=xet)
        here = dict(zip([file.name for file in wanted], paths, strict=True))
        files += [described(file, here[file.name], f"{home}/{file.path}".lstrip("/")) for file in wanted]
        if one.of and one.kind == "text":
            language = part.entry.spoken
            for batch in batches(part.entry, [here[file.name] for file in part.read], counted=False):
                counts.add(language, batch.texts)
    for line in counts.lines():
        say(line)
    return {"files": files, **({"counts": counts.as_json()} if counts.by_language else {})}


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
