"""Datasets as sources: whose terms are said, and what is fetched and kept first: `pylm tokenize --store`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pylm.data.streaming.grammar import kind_of
from pylm.data.streaming.spooling import Spooled
from pylm.data.streaming.stream_of import named, several_of
from pylm.errors import UsageError
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.tokenizer.report import Report

__all__ = ["say_terms", "stored"]


def say_terms(sources: Any, say: Callable[[str], None]) -> None:
    """Say on whose terms the datasets among sources are."""
    for one in several_of(sources):
        name = named(one)
        if name is not None and kind_of(name) == "data":
            from pylm.data.catalogue import entry
            from pylm.data.getting.foreseen import terms_of

            for line in terms_of(entry(name), ()):
                say(line)


def stored(
    sources: Any, *, allow_private: bool, progress: Report | None, say: Callable[[str], None] | None
) -> list[Any]:
    """Fetch what lies elsewhere into pylm's cache, and return the sources with which it is read from there.

    Files that a dataset publishes are found in the cache by their hashes, whoever reads them; a slice is a file that
    takes the dataset's place.
    """
    several = list(several_of(sources))
    if not any(isinstance(one, str) and _is_elsewhere(one) for one in several):
        raise UsageError(
            f"{param('store', True)} keeps what is fetched, and every source is here already", "leave it out"
        )
    from pylm.data.getting.call import get

    kept: list[Any] = []
    for one in several:
        if not isinstance(one, str) or not _is_elsewhere(one):
            kept.append(one)
            continue
        got = get(one, allow_private=allow_private, yes=True, progress=progress, say=say)
        is_slice = "slice" in got.manifest
        kept += [_kept(got.name, got.folder, file) for file in got.manifest["files"]] if is_slice else [one]
    return kept


def _is_elsewhere(name: str) -> bool:
    return kind_of(name) in ("url", "hub", "data")


def _kept(name: str, folder: Any, file: Mapping[str, Any]) -> Spooled:
    """Return a file of a slice, which goes by what it holds wherever the cache lies."""
    return Spooled(f"data:{name}", folder / file["path"], file["size"], file["sha256"], file["path"])
