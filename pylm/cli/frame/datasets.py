"""What is known of datasets, and what is here of them, in the words of `pylm data list`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pylm.cli.frame.table import table as aligned

if TYPE_CHECKING:
    from pylm.data.catalogue import Entry, Fact
    from pylm.data.catalogue.here import Copy

__all__ = ["as_json", "page", "table"]

UNCHECKED = "?"


def table(shown: list[Entry], here: dict[str, list[Copy]]) -> Iterator[str]:
    """Yield the lines of a table of datasets."""
    rows = [("name", "size", "documents", "here", "licence")]
    rows += [
        (one.name, _size(one.size), _count(one.documents), _held(here[one.name]), _licence(one.licence))
        for one in shown
    ]
    yield from aligned(rows, to_the_left=(0, 3, 4))
    yield f"\n{UNCHECKED} nobody could check it; NAME_10M, NAME_100M, NAME_1B: the first so many tokens of a text"


def page(one: Entry, here: list[Copy]) -> Iterator[str]:
    """Yield the lines of all that is known of a dataset."""
    from pylm.data.catalogue import all_terms

    yield f"{one.name}: {one.title}"
    for what, text, fact in _facts(one):
        yield f"  {what:<14} {text}  ({'nobody could check it' if fact.verified is None else f'seen {fact.verified}'})"
    if one.of:
        yield f"  {'made of':<14} {', '.join(one.of)}"
    if one.configs:
        usual = "one has to be named" if one.usual_config is None else f"{one.usual_config} if none is named"
        yield f"  {'configurations':<14} {', '.join(one.configs)} …, as {one.name}:{one.configs[0]}; {usual}"
    yield f"  {'splits':<14} {', '.join(one.splits)}"
    for text in all_terms(one):
        yield f"  {'terms':<14} {text}"
    if one.note:
        yield f"  {'note':<14} {one.note}"
    if one.attribution:
        yield f"  {'attribution':<14} {one.attribution}"
    for copy in here:
        yield f"  {'here':<14} {copy.name}: {copy.files:,} files, {_bytes(copy.size)} in {copy.folder}"
    if not here:
        yield f"  {'here':<14} nothing"


def _facts(one: Entry) -> Iterator[tuple[str, str, Fact]]:
    yield "licence", _licence(one.licence).rstrip(UNCHECKED), one.licence
    yield "size", _size(one.size).rstrip(UNCHECKED) or "not known", one.size
    yield "documents", _count(one.documents).rstrip(UNCHECKED) or "not known", one.documents
    if one.columns.value:
        yield "columns", ", ".join(one.columns.value), one.columns
    for part in one.parts:
        fact = part.revision if part.repository else part.urls if part.urls.value else part.paths
        yield "lies in", part.where + (f"@{part.revision.value}" if part.repository else ""), fact


def _size(fact: Fact) -> str:
    return UNCHECKED if fact.value is None else _bytes(fact.value) + UNCHECKED * (fact.verified is None)


def _count(fact: Fact) -> str:
    return UNCHECKED if fact.value is None else f"{fact.value:,}" + UNCHECKED * (fact.verified is None)


def _licence(fact: Fact) -> str:
    return str(fact.value) + UNCHECKED * (fact.verified is None)


def _held(here: list[Copy]) -> str:
    return " + ".join(f"{_bytes(copy.size)} ({copy.cache})" for copy in here) or "-"


def _bytes(size: float) -> str:
    from pylm.config.units import format_bytes

    return format_bytes(size)


def as_json(one: Entry, here: list[Copy]) -> dict[str, Any]:
    """Return the same for programs: each fact with its day, null where nobody could check it."""
    from pylm.data.catalogue import all_terms

    facts = {key: vars(getattr(one, key)) for key in ("licence", "size", "documents", "columns")}
    places = [
        {"where": part.where, "revision": vars(part.revision), "files": vars(part.files), "urls": vars(part.urls)}
        for part in one.parts
    ]
    plain = ("name", "title", "kind", "of", "configs", "usual_config", "splits", "attribution", "note")
    terms = {"terms": all_terms(one)}
    copies = [{**vars(copy), "folder": str(copy.folder)} for copy in here]
    return {**{key: getattr(one, key) for key in plain}, **terms, **facts, "parts": places, "here": copies}
