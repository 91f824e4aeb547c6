"""From a dataset of the catalogue to its files: those of a repository at one commit, or those at addresses."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pylm.data.catalogue.entries import Entry, Part
from pylm.data.catalogue.here import copy_of_address
from pylm.data.catalogue.naming import entry
from pylm.errors import DataError, UsageError, did_you_mean
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.data.fetching import Hub, RemoteFile, Repository

__all__ = ["Found", "found"]

PATHS_LIMIT = 1 << 26  # bytes of a list of paths; that of a crawl has 20 MB


@dataclass(frozen=True)
class Found:
    """The files of a dataset, or of one that it is made of.

    Attributes:
        entry: The dataset.
        where: Where they lie, with the commit.
        sha: The commit; None for files at addresses.
        splits: The files by split, in the order of the catalogue. Those at many addresses are looked for one by one.
        is_listed: Whether these are all, and not only what huggingface_hub has kept of them.
    """

    entry: Entry
    where: str
    sha: str | None
    splits: Mapping[str, Sequence[RemoteFile]]
    is_listed: bool = True

    @property
    def read(self) -> Sequence[RemoteFile]:
        """The files that are read as text, in the catalogue's order."""
        return self.splits[self.entry.read_split]

    @property
    def known(self) -> list[RemoteFile]:
        """The files of all splits, without those at many addresses, which nobody has asked for yet."""
        return [file for files in self.splits.values() if not isinstance(files, Unopened) for file in files]


def found(one: Entry, hub: Hub, revision: str | None = None, *, as_text: bool = False) -> list[Found]:
    """Return the files of a dataset, and of each that it is made of, in its order.

    Args:
        one: The dataset.
        hub: Where repositories are, and what asks for addresses.
        revision: Of its repository, in place of the catalogue's.
        as_text: Whether only what is read as text is wanted of a repository that the catalogue does not know.
    """
    if revision is not None and (len(one.parts) != 1 or one.parts[0].repository is None):
        raise UsageError(f"{one.name} is not of one repository, and has no revision", f"leave out {param('revision')}")
    of_parts = [_of_part(one, part, hub, revision, as_text) for part in one.parts]
    return of_parts + [each for name in one.of for each in found(entry(name), hub)]


def _of_part(one: Entry, part: Part, hub: Hub, revision: str | None, as_text: bool) -> Found:
    from pylm.data.fetching.access import shown

    if part.repository is None:
        files = _at_paths(one, part, hub) if part.paths.value else _at_urls(part, hub)
        return Found(one, shown(part.where), None, {one.read_split: files})
    repository = hub.repository("dataset", part.repository, revision or part.revision.value)
    if part.files.value:
        splits: Mapping[str, Sequence[RemoteFile]] = _by_rules(one, part, repository)
        return Found(one, repository.name, repository.sha, splits, repository.is_listed)
    files = _by_layout(one, repository) if as_text or one.config or one.split else repository.files()
    return Found(one, repository.name, repository.sha, {one.read_split: files}, repository.is_listed)


def _by_rules(one: Entry, part: Part, repository: Repository) -> dict[str, Sequence[RemoteFile]]:
    """Return the files that the catalogue's rules find. What is another split's by its very rule is not train's."""
    listed = repository.files()
    wanted = [one.split] if one.split else list(part.files.value)
    chosen = {split: _matching(one, part.files.value[split], listed) for split in part.files.value}
    taken = {file.path for split, files in chosen.items() if split != one.splits[0] for file in files}
    chosen[one.splits[0]] = [file for file in chosen[one.splits[0]] if file.path not in taken]
    splits: dict[str, Sequence[RemoteFile]] = {
        split: chosen[split] for split in wanted if chosen[split] or split == one.read_split
    }
    if not splits[one.read_split]:
        folders = {folder for file in listed for folder in PurePosixPath(file.path).parts[:-1]}
        near = did_you_mean(one.config, folders) if one.config else None
        raise DataError(
            f"{repository.name} has no files of {one.full_name}",
            near or f"{param('revision')} names another commit of it, whose files the catalogue may know",
        )
    return splits


def _matching(one: Entry, rules: Sequence[Sequence[str]], listed: Sequence[RemoteFile]) -> list[RemoteFile]:
    for pattern, glob in rules:
        match = re.fullmatch(pattern, one.config)
        if match is None:
            continue
        wanted = match.expand(glob)
        if files := [file for file in listed if fnmatchcase(file.path, wanted)]:
            return files
    return []


def _by_layout(one: Entry, repository: Repository) -> Sequence[RemoteFile]:
    """Return the text of a repository that the catalogue does not know, as its card and its names tell it."""
    from pylm.data.streaming.grammar import HubName
    from pylm.data.streaming.hub_layout import data_files

    return data_files(repository, HubName(repository.id, None, one.config or None, one.split or None))


def _at_urls(part: Part, hub: Hub) -> list[RemoteFile]:
    files = []
    for number, url in enumerate(part.urls.value):
        file = _at_url(url, hub, part.sha256.value and part.sha256.value[number])
        if part.git_sha1.value and file.size is not None:
            file.git_sha1 = file.identity = part.git_sha1.value[number]
        file.path = part.names[number] if part.names else file.path
        files.append(file)
    return files


def _at_url(url: str, hub: Hub, sha256: str | None) -> RemoteFile:
    """Return the file at an address; without the network, the one that was fetched from there."""
    from pylm.data.fetching import RemoteFile, open_url
    from pylm.data.fetching.access import shown

    copy = copy_of_address(shown(url)) if hub.client.access.offline else None
    if copy is None:
        return open_url(url, client=hub.client, sha256=sha256)
    path, facts = copy
    known = {"path": path.name, "size": facts["size"], "sha256": facts.get("sha256"), "local": partial(Path, path)}
    return RemoteFile(hub.client, url, name=shown(url), **known)


def _at_paths(one: Entry, part: Part, hub: Hub) -> Sequence[RemoteFile]:
    from pylm.data.fetching import open_url

    address = part.paths.value.format(config=one.config)
    try:
        packed = b"".join(open_url(address, client=hub.client).stream())
        paths = zlib.decompressobj(wbits=31).decompress(packed, PATHS_LIMIT).decode().split()  # 31: gzip's header
    except (zlib.error, UnicodeDecodeError):
        raise DataError(f"{address} is no packed list of paths", "is the crawl spelled so?") from None
    return Unopened([part.base + path for path in paths], hub, part.file_size.value)


class Unopened(Sequence["RemoteFile"]):
    """Files at many addresses, each asked for when its turn comes."""

    def __init__(self, urls: list[str], hub: Hub, file_size: int) -> None:
        """`file_size` is that of one of them, about."""
        self.urls, self.hub, self.size = urls, hub, file_size * len(urls)

    def __len__(self) -> int:
        return len(self.urls)

    def __getitem__(self, number: int) -> RemoteFile:  # type: ignore[override]  # nobody takes a slice
        from pylm.data.fetching import open_url

        return open_url(self.urls[number], client=self.hub.client)

    def __iter__(self) -> Iterator[RemoteFile]:
        return (self[number] for number in range(len(self)))
