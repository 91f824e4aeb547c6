"""What names mean that are no paths: files of the Hub, of the catalogue and behind URLs, as Rust reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pylm.data.streaming.files import Reading
from pylm.data.streaming.grammar import hub_name, kind_of

__all__ = ["files_of"]


def files_of(name: Any, reading: Reading) -> Sequence[Any]:
    """Return what Rust is handed for a name: itself where it is a path, else an object for each file."""
    kind = kind_of(name) if isinstance(name, str) else "file"
    if kind == "url":
        from pylm.data.fetching import open_url

        return [open_url(name, allow_private=reading.allow_private)]
    if kind == "hub":
        from pylm.data.streaming.hub_layout import data_files

        hub = hub_name(name)
        return list(data_files(_hub(reading).repository("dataset", hub.id, hub.revision), hub))
    if kind == "data":
        from pylm.data.catalogue import entry, files

        return files.files_of(entry(name), _hub(reading))
    return [name]


def _hub(reading: Reading) -> Any:
    from pylm.data.fetching import Hub

    return Hub.from_environment(allow_private=reading.allow_private)
