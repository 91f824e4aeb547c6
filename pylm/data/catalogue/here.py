"""What is on this machine already: in pylm's cache, and in the Hugging Face cache, which is read and never written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.cache import cache_folder
from pylm.data.catalogue.entries import Entry, Part, all_entries
from pylm.data.fetching.huggingface_cache import huggingface_cache_folder

if TYPE_CHECKING:
    from pylm.data.fetching import RemoteFile

__all__ = ["MANIFEST", "Copy", "copies", "copy_of_address", "datasets_folder", "manifests", "take_copies"]

MANIFEST = "dataset.json"  # of a folder that `pylm.data.get` wrote; its last file


@dataclass(frozen=True)
class Copy:
    """Files of a dataset that are here.

    Attributes:
        folder: Where they lie.
        name: What was asked for: a configuration or a slice, say.
        cache: `pylm` or `huggingface`.
        revision: The commit that they are of, where one is known.
        files: How many there are.
        size: Their bytes.
    """

    folder: Path
    name: str
    cache: str
    revision: str | None
    files: int
    size: int


def datasets_folder() -> Path | None:
    """Return the folder of pylm's cache that datasets go to; None for a user who has no home."""
    cache = cache_folder()
    return None if cache is None else cache / "data"


def manifests() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folders of pylm's cache that are whole, each with its manifest."""
    folder = datasets_folder()
    for path in sorted(folder.glob(f"*/*/{MANIFEST}")) if folder is not None else ():
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if (
                isinstance(manifest["name"], str)
                and all(file["path"] and file["size"] >= 0 for file in manifest["files"])
                and all(isinstance(source, dict) for source in manifest.get("sources", ()))
            ):
                yield path.parent, manifest
        except (OSError, ValueError, KeyError, TypeError):  # half a cache is no reason to list nothing
            continue


def copies(entries: list[Entry]) -> dict[str, list[Copy]]:
    """Return what is here of each of these datasets, by name, without the network."""
    found: dict[str, list[Copy]] = {one.name: [] for one in entries}
    for folder, manifest in manifests():
        name = str(manifest.get("dataset"))
        if name in found:
            size = sum(file["size"] for file in manifest["files"])
            revision = next((source.get("sha") for source in manifest.get("sources", ())), None)
            found[name].append(Copy(folder, manifest["name"], "pylm", revision, len(manifest["files"]), size))
    hub = huggingface_cache_folder()
    if hub is not None and hub.is_dir():
        for one in entries:
            found[one.name].extend(_of_hub(hub, one))
    return found


def _of_hub(hub: Path, one: Entry) -> Iterator[Copy]:
    for part in _parts(one):
        if part.repository is None:
            continue
        snapshots = hub / f"datasets--{part.repository.replace('/', '--')}" / "snapshots"
        globs = [glob for rules in part.files.value.values() for _, glob in rules]
        for snapshot in sorted(snapshots.iterdir()) if snapshots.is_dir() else ():
            sizes = [size for path, size in _files(snapshot) if any(_fits(path, glob) for glob in globs)]
            if sizes:
                yield Copy(snapshot, one.name, "huggingface", snapshot.name, len(sizes), sum(sizes))


def _parts(one: Entry) -> Iterator[Part]:
    yield from one.parts
    for name in one.of:
        yield from all_entries()[name.partition(":")[0]].parts


def _fits(path: str, glob: str) -> bool:
    """Say whether a path is of any configuration: a group of the regex stands for whatever there is."""
    return fnmatchcase(path, glob.replace("\\g<0>", "*").replace("\\1", "*"))


def _files(snapshot: Path) -> Iterator[tuple[str, int]]:
    for folder, _, names in os.walk(snapshot):
        for name in names:
            path = Path(folder, name)
            try:
                yield path.relative_to(snapshot).as_posix(), path.stat().st_size  # of what a link leads to
            except OSError:  # a link that leads nowhere: its blob was removed
                continue


def take_copies(files: Sequence[RemoteFile]) -> None:
    """Let files be read from pylm's cache where it has them; what is made of a copy is checked as what is fetched."""
    folder, known = datasets_folder(), _by_hash()
    for file in files:
        copy = known.get(file.sha256 or file.git_sha1 or "") or (folder and _at_commit(folder, file))
        if copy is not None and copy.is_file() and file.local() is None:
            file.local = partial(Path, copy)


def copy_of_address(name: str) -> tuple[Path, dict[str, Any]] | None:
    """Return the file that was fetched from an address, with what its manifest says of it; None where none was."""
    for folder, manifest in manifests():
        for file in manifest["files"]:
            if file.get("from") == name and "slice" not in manifest and (folder / file["path"]).is_file():
                return folder / file["path"], file
    return None


def _by_hash() -> dict[str, Path]:
    """Return the files of whole folders of pylm's cache by their published hashes."""
    return {
        file[kind]: folder / file["path"]
        for folder, manifest in manifests()
        for file in manifest["files"]
        for kind in ("sha256", "git_sha1")
        if kind in file
    }


def _at_commit(folder: Path, file: RemoteFile) -> Path | None:
    """Return the file where `store` put it, below the name of its commit: there is no manifest yet."""
    match = re.search(r"@([0-9a-f]{40}):", file.name)
    places = folder.glob(f"*/{match[1][:12]}") if match else ()
    return next((place / file.path for place in places if _has_size(place / file.path, file.size)), None)


def _has_size(path: Path, size: int | None) -> bool:
    return path.is_file() and path.stat().st_size == size
