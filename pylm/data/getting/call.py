"""`pylm.data.get`: a dataset by name, verified to the byte."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.data.catalogue import Entry, elsewhere, entry
from pylm.data.catalogue.here import MANIFEST, datasets_folder, take_copies
from pylm.data.getting import manifest
from pylm.data.getting.amount import Amount, counter
from pylm.data.getting.foreseen import agreed, size_of, terms_of
from pylm.errors import UsageError
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.data.catalogue.files import Found
    from pylm.data.fetching import Hub, RemoteFile
    from pylm.tokenizer import Tokenizer
    from pylm.tokenizer.report import Report

__all__ = ["Got", "get"]


@dataclass(frozen=True)
class Got:
    """A dataset that is here: its folder, the files that it is of, and what dataset.json says of them."""

    name: str
    folder: Path
    manifest: dict[str, Any]
    was_here: bool = False

    @property
    def files(self) -> list[Path]:
        """Its files, in its order."""
        return [self.folder / file["path"] for file in self.manifest["files"]]

    @property
    def bytes(self) -> int:
        """What its files take on the disk."""
        return sum(file["size"] for file in self.manifest["files"])


def get(
    name: str,
    out: str | os.PathLike[str] | None = None,
    *,
    limit: str | None = None,
    revision: str | None = None,
    offline: bool | None = None,
    store: bool = False,
    xet: bool = False,
    allow_private: bool = False,
    yes: bool = False,
    tokenizer: Tokenizer | None = None,
    ask: Callable[[str], bool] | None = None,
    progress: Report | None = None,
    say: Callable[[str], None] | None = None,
) -> Got:
    """Fetch a dataset, verified to the byte, or find it where an earlier call left it; go on with what it began.

    ::

        pylm.data.get("tinystories")
        pylm.data.get("fineweb_10M", "data/text")
        pylm.data.get("hub:roneneldan/TinyStories", limit="1000docs")

    All of a dataset is its published files, as they are, at their own paths. A slice or a limit is the beginning of
    its text, in one file `text_00000.jsonl`. `dataset.json`, written last, says what there is and where it is from.

    Args:
        name: Of the catalogue (`tinystories`, `wikipedia:ja`, `fineweb_100M`), `hub:ORG/NAME[@REV][:CONFIG[:SPLIT]]`,
            or a URL.
        out: The folder; one in pylm's cache if not given.
        limit: `10000docs`, `1GB`, `100Mtok`: the first documents that reach it.
        revision: A commit, branch or tag of its repository, in place of the catalogue's.
        offline: Whether the network is not to be used; as PYLM_OFFLINE and HF_HUB_OFFLINE say if not given.
        store: Whether the published files that a slice is cut from are kept in the cache, whole.
        xet: Whether huggingface_hub with hf_xet fetches them; what it fetches is verified all the same.
        allow_private: Whether addresses of this machine and of its own network may be reached.
        yes: Whether a download of more than a gigabyte is meant.
        tokenizer: Counts the tokens of a slice in place of GPT-2's vocabulary.
        ask: Asked whether a large download is meant, where `yes` is not given.
        progress: Called about five times a second.
        say: Called with sentences that a user wants to read.
    """
    from pylm.data.catalogue.files import found
    from pylm.data.fetching import Hub
    from pylm.data.fetching.unlisted import check_unlisted
    from pylm.data.getting.cut import cut, settle
    from pylm.data.getting.shards_cut import cut_shards
    from pylm.data.getting.whole import fetch_whole

    say = say or (lambda _: None)
    one = elsewhere(name) or entry(name)
    if revision is not None and name.startswith("hub:") and "@" in name:
        raise UsageError(f"{name} names a revision, and so does {param('revision', revision)}", "give one of them")
    amount = Amount.of(one, limit)
    _refuse_without_use(one, amount, store, xet, tokenizer)
    hub = Hub.from_environment(allow_private=allow_private, offline=offline, say=say)
    try:
        request, asked = _request(one, amount, tokenizer), _revisions(one, revision)
        if (standing := _standing(one, amount, request, asked, out, hub)) is not None:
            return standing
        parts = found(one, hub, revision, as_text=amount is not None)
        request["commits"] = [part.sha for part in parts]
        for part in parts:
            if not part.is_listed:
                check_unlisted(part.where, part.known, say)
                request["listed"] = False
        folder = Path(out) if out is not None else _in_cache(one, amount, _commit(parts))
        if (known := manifest.stands(folder, request)) is not None:
            return Got(one.full_name, folder, known, True)
        for line in terms_of(one, parts):
            say(line)
        agreed(one.full_name, size_of(parts, amount), yes, ask)
        take_copies([file for part in parts for file in part.known])
        if amount is None:
            made = fetch_whole(one, parts, folder, xet=xet, progress=progress, say=say)
        elif one.kind == "shards":
            made = cut_shards(parts, folder, amount, xet=xet, progress=progress, say=say)
        else:
            count, how = counter(amount, _counted_by(parts), tokenizer, hub.client.access.offline or None)
            opened = (
                partial(_stored, _in_cache(replace(one, tokens=None), None, _commit(parts)), xet, progress)
                if store
                else None
            )
            made = cut(one, parts, folder, amount, count, request=request, opened=opened, progress=progress, say=say)
            made["slice"]["counted"] = how
    finally:
        hub.client.close()
    whole = {**manifest.of_sources(one, parts), **made, "revisions": asked, "request": request}
    manifest.write(folder, whole)
    settle(folder)
    return Got(one.full_name, folder, whole)


def _refuse_without_use(one: Entry, amount: Amount | None, store: bool, xet: bool, tokenizer: Tokenizer | None) -> None:
    """Refuse options that would change nothing."""
    is_cut = amount is not None and one.kind != "shards"
    if store and not is_cut:
        raise UsageError(
            f"{param('store', True)} keeps what a slice is cut from, and all of it is kept here", "leave it out"
        )
    if xet and is_cut and not store:
        raise UsageError(
            f"{param('xet', True)} fetches files whole, and a slice is read from their beginning",
            f"leave it out, or keep the files with {param('store', True)}",
        )
    if tokenizer is not None and (amount is None or amount.unit != "tokens" or not is_cut):
        raise UsageError(f"{param('tokenizer')} counts a slice, and this is none", "leave it out")


def _request(one: Entry, amount: Amount | None, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """Return what decides what is fetched, but for the commits."""
    return {
        "name": one.full_name,
        "reading": dict(one.reading),
        "limit": None if amount is None else [amount.unit, amount.number],
        "tokenizer": None if tokenizer is None else tokenizer.identity,
    }


def _revisions(one: Entry, revision: str | None) -> list[str | None]:
    """Return what is asked for of each repository, in the order of what `found` finds; None for addresses."""
    own = [(revision or part.revision.value) if part.repository else None for part in one.parts]
    return own + [each for name in one.of for each in _revisions(entry(name), None)]


def _standing(
    one: Entry,
    amount: Amount | None,
    request: dict[str, Any],
    revisions: list[str | None],
    out: str | os.PathLike[str] | None,
    hub: Hub,
) -> Got | None:
    """Return what is here already, without asking anybody, where no branch could have moved since."""
    places = [Path(out)] if out is not None else []
    if out is None and (cache := datasets_folder()) is not None:
        places = sorted(path.parent for path in cache.glob(f"{_folder_name(one, amount)}/*/{MANIFEST}"))
    for place in places:
        known = manifest.read(place)
        if known is None or known["request"] != {**request, "commits": known["request"].get("commits")}:
            continue
        are_commits = known["request"]["commits"] == revisions
        are_those = hub.client.access.offline and known["revisions"] == revisions
        if (are_commits or are_those) and manifest.stands(place, known["request"]):
            return Got(one.full_name, place, known, True)
    return None


def _folder_name(one: Entry, amount: Amount | None) -> str:
    from pylm.data.getting.whole import folder_name

    cut = "" if amount is None or one.tokens is not None else f"_{amount.number}{amount.unit}"
    return folder_name(one) + cut


def _commit(parts: Sequence[Found]) -> str:
    """Return what a folder of the cache is called by: the commits that its files are of."""
    shas = [part.sha for part in parts if part.sha]
    unlisted = [] if all(part.is_listed for part in parts) else ["unlisted"]  # may be less than the commit has
    return "-".join(dict.fromkeys([*(sha[:12] for sha in shas), *unlisted])) or "web"


def _in_cache(one: Entry, amount: Amount | None, commit: str) -> Path:
    cache = datasets_folder()
    if cache is None:
        raise UsageError("there is no home for a cache folder", f"name a folder with {param('out')}, or set PYLM_CACHE")
    return cache / _folder_name(one, amount) / commit


def _counted_by(parts: Sequence[Found]) -> str | None:
    """Return the column that has the publisher's own counts, where each part has it."""
    columns = {part.entry.token_count for part in parts}
    return columns.pop() if len(columns) == 1 else None


def _stored(folder: Path, xet: bool, progress: Report | None, file: RemoteFile) -> Path:
    """Return the copy of a file in pylm's cache, fetched whole."""
    from pylm.data.fetching import fetch

    return fetch(file, folder / file.path, progress=progress, xet=xet)
