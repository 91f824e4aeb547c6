"""Files from the Hub and from the web: pinned, read by ranges, fetched and verified to the byte."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pylm.data.fetching.access import Access
    from pylm.data.fetching.download import fetch
    from pylm.data.fetching.hub import Hub, Repository
    from pylm.data.fetching.remote_file import RemoteFile
    from pylm.data.fetching.several import fetch_all
    from pylm.data.fetching.web import open_url

__all__ = ["Access", "Hub", "RemoteFile", "Repository", "fetch", "fetch_all", "open_url"]

# name: its module, imported on first use: http.client and ssl take tens of milliseconds, and `pylm --help` has 150
_HOMES = {
    "Access": "access",
    "Hub": "hub",
    "RemoteFile": "remote_file",
    "Repository": "hub",
    "fetch": "download",
    "fetch_all": "several",
    "open_url": "web",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
