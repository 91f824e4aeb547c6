"""The Hugging Face Hub: a repository at a commit, its files, and its own conversion to parquet."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pylm.cache import cache_folder
from pylm.data.fetching.access import Access, Origin, is_offline
from pylm.data.fetching.client import Client, Refused
from pylm.data.fetching.huggingface_cache import HuggingFaceCache, huggingface_cache_folder
from pylm.data.fetching.listing import Listed, Remembered, list_commit
from pylm.data.fetching.refusals import explained, no_file
from pylm.data.fetching.remote_file import RemoteFile
from pylm.data.fetching.xet import download_by_xet
from pylm.errors import DataError, UsageError

__all__ = ["Hub", "Kind", "Repository"]

Kind = Literal["dataset", "model"]
ENDPOINT = "https://huggingface.co"
CONVERTED = "refs/convert/parquet"
SHA = re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class Hub:
    """Where repositories are: an endpoint, who asks, and what is here already."""

    def __init__(
        self, client: Client, endpoint: str = ENDPOINT, *, cache: Path | None = None, huggingface: Path | None = None
    ) -> None:
        """`cache` is pylm's own folder for listings, `huggingface` the one that huggingface_hub keeps files in."""
        self.client, self.endpoint = client, endpoint.rstrip("/")
        self.cache, self.huggingface = cache, huggingface

    @classmethod
    def from_environment(
        cls,
        *,
        allow_private: bool = False,
        offline: bool | None = None,
        say: Callable[[str], None] = lambda text: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Hub:
        """Return the Hub of HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE, HF_HUB_OFFLINE and PYLM_OFFLINE.

        Args:
            allow_private: addresses of this machine and of its own network may be reached.
            offline: None asks the environment.
            say: told what a user should know: that an endpoint is plain http.
            sleep: waits between tries.
        """
        endpoint = (os.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
        try:
            origin = Origin.of(endpoint)
        except UsageError as error:
            raise UsageError(f"HF_ENDPOINT: {error.message}", error.hint) from None
        token = (os.environ.get("HF_TOKEN") or "").strip() or None
        access = Access(allow_private, is_offline(offline), origin, say)
        if origin.scheme == "http" and not access.offline:
            kept = ": HF_TOKEN is not sent to it" if token else ""
            say(f"HF_ENDPOINT is plain http, which others can read and change{kept}")
        own = cache_folder()
        cache = own / "hub" / re.sub(r"[^\w.-]", "_", f"{origin.host}_{origin.port}") if own else None
        return cls(Client(access, token, sleep=sleep), endpoint, cache=cache, huggingface=huggingface_cache_folder())

    def repository(self, kind: Kind, id: str, revision: str | None = None) -> Repository:
        """Return a repository at the commit that a branch or tag is at now; a whole commit's name is asked nobody.

        Args:
            kind: dataset or model.
            id: ORG/NAME.
            revision: a branch, a tag or a commit; None is the main branch.
        """
        if not REPOSITORY.fullmatch(id) or ".." in id:
            raise UsageError(f"{id!r} is no name of a repository", "they look like ORG/NAME")
        revision = revision or "main"
        folder = self.cache / f"{kind}s" / "--".join(id.split("/")) if self.cache else None
        remembered, huggingface = Remembered(folder), HuggingFaceCache(self.huggingface, kind, id)
        if SHA.fullmatch(revision):
            sha = revision
        elif self.client.access.offline:
            known = remembered.sha(revision) or huggingface.sha(revision)
            if known is None:
                raise DataError(
                    f"hub:{id} at {revision} is not here, and the network is not to be used",
                    "unset PYLM_OFFLINE and HF_HUB_OFFLINE, or fetch it where there is a network",
                )
            sha = known
        else:
            sha = self._pin(kind, id, revision)
            remembered.keep_sha(revision, sha)
        return Repository(self, kind, id, sha, revision, remembered, huggingface)

    def _pin(self, kind: Kind, id: str, revision: str) -> str:
        url = f"{self.endpoint}/api/{kind}s/{id}/revision/{quote(revision, safe='')}"
        try:
            answer, _ = self.client.json(url, f"hub:{id}")
        except Refused as refused:
            raise explained(self, kind, id, revision, refused) from None
        sha = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(sha, str) or not SHA.fullmatch(sha):
            raise DataError(f"{self.endpoint} does not answer as the Hub does", "is HF_ENDPOINT a Hub?")
        return sha


class Repository:
    """A repository at a commit: what it holds does not change.

    Attributes:
        kind: dataset or model.
        id: ORG/NAME.
        sha: the commit.
        revision: the branch or tag that was at that commit.
        name: `hub:ORG/NAME@sha`.
        is_listed: whether its files are those of its listing; without the network they may be only those that
            huggingface_hub was asked for.
    """

    def __init__(
        self,
        hub: Hub,
        kind: Kind,
        id: str,
        sha: str,
        revision: str,
        remembered: Remembered,
        huggingface: HuggingFaceCache,
    ) -> None:
        """Nothing is asked before its files are."""
        self.hub, self.id, self.sha, self.revision = hub, id, sha, revision
        self.kind: Kind = kind
        self.name = f"hub:{id}@{sha}"
        self.is_listed = True
        self._remembered, self._huggingface = remembered, huggingface
        self._files: tuple[RemoteFile, ...] | None = None

    def __repr__(self) -> str:
        """Return its name."""
        return f"Repository({self.name!r})"

    def files(self, under: str = "") -> tuple[RemoteFile, ...]:
        """Return the files in a folder of it, in the order of their paths; the listing is asked for once."""
        if self._files is None:
            self._files = tuple(map(self._file, sorted(self._listing(), key=lambda listed: listed.path)))
        under = under.strip("/")
        found = tuple(f for f in self._files if not under or f.path == under or f.path.startswith(f"{under}/"))
        if under and not found:
            raise no_file(self.name, under, [file.path for file in self._files])
        self._refuse_partial(found)
        return found

    def file(self, path: str) -> RemoteFile:
        """Return one file of it."""
        found = [file for file in self.files(path) if file.path == path]
        if not found:
            raise no_file(self.name, path, [file.path for file in self._files or ()])
        return found[0]

    def converted(self) -> Repository:
        """Return the Hub's own conversion of it to parquet: `CONFIG/SPLIT/0000.parquet`."""
        return self.hub.repository(self.kind, self.id, CONVERTED)

    def _listing(self) -> tuple[Listed, ...]:
        if (known := self._remembered.listing(self.sha)) is not None:
            return known
        if self.hub.client.access.offline and (here := self._huggingface.files(self.sha)):
            self.is_listed = False
            return tuple(Listed(path, size, None, None) for path, size in here.items())
        url = f"{self.hub.endpoint}/api/{self.kind}s/{self.id}/tree/{self.sha}"
        try:
            files = list_commit(self.hub.client, url, self.name)
        except Refused as refused:
            raise explained(self.hub, self.kind, self.id, self.revision, refused) from None
        self._remembered.keep_listing(self.sha, files)
        return files

    def _file(self, listed: Listed) -> RemoteFile:
        prefix = "datasets/" if self.kind == "dataset" else ""
        find = partial(self._huggingface.find, self.sha, listed.path, listed.size, listed.sha256, listed.git_sha1)
        return RemoteFile(
            self.hub.client,
            f"{self.hub.endpoint}/{prefix}{self.id}/resolve/{self.sha}/{quote(listed.path)}",
            name=f"{self.name}:{listed.path}",
            path=listed.path,
            size=listed.size,
            sha256=listed.sha256,
            git_sha1=listed.git_sha1,
            local=find,
            explain=partial(explained, self.hub, self.kind, self.id, self.revision),
            by_xet=partial(
                download_by_xet, self.hub.client, self.hub.endpoint, self.kind, self.id, self.sha, listed.path
            ),
        )

    def _refuse_partial(self, files: tuple[RemoteFile, ...]) -> None:
        """Refuse a conversion that ends after the first 5 GB: nobody should take it for the dataset."""
        if self.revision != CONVERTED:
            return
        cut = sorted({"/".join(f.path.split("/")[:2]) for f in files if "/partial-" in f"/{f.path}"})
        if cut:
            which = ", ".join(cut[:3]).replace("partial-", "")
            raise DataError(
                f"the Hub's parquet of hub:{self.id} holds only the beginning of {which}",
                "read the files that its publisher wrote, or a configuration that is converted whole",
            )
