"""What names mean that are no paths: files of the Hub, of the catalogue and behind URLs, as Rust reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pylm.data.streaming.files import Reading
from pylm.data.streaming.grammar import hub_name, kind_of
from pylm.errors import warn

if TYPE_CHECKING:
    from pylm.data.fetching import Hub, RemoteFile

__all__ = ["files_of"]


def files_of(name: Any, reading: Reading) -> Sequence[Any]:
    """Return what Rust is handed for a name: itself where it is a path, else an object for each file."""
    kind = kind_of(name) if isinstance(name, str) else "file"
    if kind == "url":
        from pylm.data.fetching import open_url

        return [open_url(name, allow_private=reading.allow_private)]
    if kind in ("hub", "data"):
        from pylm.data.catalogue.here import take_copies

        files = _of_hub(name, reading) if kind == "hub" else _of_dataset(name, reading)
        if isinstance(files, list):
            take_copies(files)
        return files
    return [name]


def _of_hub(name: str, reading: Reading) -> Sequence[RemoteFile]:
    from pylm.data.fetching.unlisted import check_unlisted
    from pylm.data.streaming.hub_layout import data_files

    hub = hub_name(name)
    repository = _hub(reading).repository("dataset", hub.id, hub.revision)
    files = data_files(repository, hub)
    if not repository.is_listed:
        check_unlisted(repository.name, files, warn)
    return files


def _of_dataset(name: str, reading: Reading) -> Sequence[RemoteFile]:
    """Return the files of a dataset; where there are too many to ask for, each is when it is taken."""
    from pylm.data.catalogue import entry
    from pylm.data.catalogue.files import found
    from pylm.data.fetching.unlisted import check_unlisted

    parts = found(entry(name), _hub(reading), as_text=True)
    for part in parts:
        if not part.is_listed:
            check_unlisted(part.where, part.known, warn)
    return parts[0].read if len(parts) == 1 else [file for part in parts for file in part.read]


def _hub(reading: Reading) -> Hub:
    from pylm.data.fetching import Hub

    return Hub.from_environment(allow_private=reading.allow_private, say=warn)
