"""Files at addresses of the web."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from pylm.data.fetching.access import Access, is_offline, shown
from pylm.data.fetching.answers import etag_of, hashes_of, range_of, size_of
from pylm.data.fetching.client import Client, Refused
from pylm.data.fetching.patience import Passing, Patience
from pylm.data.fetching.remote_file import RemoteFile
from pylm.errors import DataError

__all__ = ["open_url"]


def open_url(
    url: str,
    *,
    allow_private: bool = False,
    offline: bool | None = None,
    client: Client | None = None,
    sha256: str | None = None,
) -> RemoteFile:
    """Return the file at an address, its size and hash as far as the server tells them.

    Args:
        url: an address that begins with https://.
        allow_private: addresses of this machine and of its own network may be reached.
        offline: None asks PYLM_OFFLINE and HF_HUB_OFFLINE.
        client: makes the requests; one of these rules is made where none is given.
        sha256: what the content must hash to, where somebody published it.
    """
    client = client or Client(Access(allow_private, is_offline(offline)))
    name = shown(url)
    patience = Patience(name, client.sleep)
    while True:
        try:
            # a byte, and not HEAD: signed addresses refuse that, and a 206 says that ranges are served
            answer = client.once(url, {"Range": "bytes=0-0"})
            break
        except Refused as refused:
            hint = "is it spelled so?" if refused.status in (404, 410) else None
            raise DataError(f"there is no file for you at {name}: it answered {refused.status}", hint) from None
        except Passing as failure:
            patience.failed(failure)
    answer.drain()
    linked, git_sha1 = hashes_of(answer.first)
    total = answer.length if answer.status == 200 else range_of(answer.headers)[1]
    size = size_of(answer.first) if size_of(answer.first) is not None else total
    etag = None if linked or git_sha1 or sha256 else etag_of(answer.headers)
    return RemoteFile(
        client, url, name=name, path=file_name(url), size=size, sha256=sha256 or linked, git_sha1=git_sha1, etag=etag
    )


def file_name(url: str) -> str:
    """Return the name that a file gets from its address: one part, never a way out of a folder."""
    parts = urlsplit(url)
    last = PurePosixPath(unquote(parts.path).replace("\\", "/")).name.replace("\0", "")
    return last if last not in ("", ".", "..") else (parts.hostname or "file")
