"""The names of the catalogue: NAME[:CONFIG[:SPLIT]][_10M], after `data:` where a file has the name too."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from pylm.data.catalogue.entries import Entry, Fact, Part, all_entries
from pylm.errors import UsageError, did_you_mean
from pylm.wording import call

__all__ = ["all_terms", "dataset", "elsewhere", "entry", "is_known", "names", "public_name"]

PREFIX = "data:"
_SLICE = re.compile(r"(.+)_(\d+(?:\.\d+)?)([MB])")
_SCALES = {"M": 10**6, "B": 10**9}


def names() -> tuple[str, ...]:
    """Return the names of all datasets, in the order of the catalogue."""
    return tuple(all_entries())


def is_known(name: str) -> bool:
    """Say whether a text names a dataset, with its configuration, split and slice or without."""
    return _cut(name)[0].partition(":")[0] in all_entries()


def entry(name: str) -> Entry:
    """Return the dataset that a name stands for, with the configuration, split and slice that it chooses.

    ::

        entry("tinystories"), entry("wikipedia:ja_100M"), entry("fineweb-2:jpn_Jpan:test"), entry("data:c4")

    Raises:
        UsageError: there is no such dataset; the nearest name is suggested.
    """
    whole, tokens = _cut(name)
    known, (_, *chosen) = dataset(name), whole.split(":")
    if len(chosen) > 2:
        raise UsageError(f"{name} has too many parts", f"a name is {known.name}[:CONFIG[:SPLIT]][_10M]")
    return _sliced(_split(_configured(known, chosen[0] if chosen else ""), *chosen[1:]), tokens)


def dataset(name: str) -> Entry:
    """Return the dataset of a name as the catalogue has it, whatever the name chooses of it."""
    base = _cut(name)[0].partition(":")[0]
    known = all_entries().get(base)
    if known is None:
        hint = did_you_mean(base, all_entries()) or f"{call('data list')} names them all"
        raise UsageError(f"there is no dataset {base}", hint)
    return known


def elsewhere(name: str) -> Entry | None:
    """Return an entry for what lies on the Hub or at an address and is in no catalogue; None for any other name."""
    from pylm.data.streaming.grammar import hub_name, kind_of

    kind = kind_of(name)
    unknown = Fact(None)
    of_nobody: dict[str, Any] = {"licence": unknown, "size": unknown, "documents": unknown, "columns": Fact([])}
    if kind == "url":
        named = public_name(name)
        return Entry(named, named, "text", parts=(Part(urls=Fact([name])),), **of_nobody)
    if kind != "hub":
        return None
    hub = hub_name(name)
    return Entry(
        f"hub:{hub.id}",
        hub.id,
        "text",
        parts=(Part(repository=hub.id, revision=Fact(hub.revision or "main")),),
        config=hub.config or "",
        split=hub.split or "",
        reading={"column": hub.column} if hub.column else {},
        **of_nobody,
    )


def public_name(name: str) -> str:
    """Return a name as it may be printed and stored: an address without signatures, told apart by a hash of them."""
    from hashlib import sha256

    from pylm.data.fetching.access import shown
    from pylm.data.streaming.grammar import kind_of

    if kind_of(name) != "url" or ("…" not in (quiet := shown(name)) and "@" not in name.split("/")[2]):
        return name
    return f"{quiet}#{sha256(name.encode()).hexdigest()[:8]}"


def all_terms(one: Entry) -> tuple[str, ...]:
    """Return what everybody reads before a dataset is fetched: its own terms, and those of what it is made of."""
    of_parts = [f"{name}: {term}" for name in one.of for term in all_terms(dataset(name))]
    return (*one.terms, *of_parts)


def _cut(name: str) -> tuple[str, int | None]:
    """Return a name without `data:` and without its slice, and the slice's tokens."""
    whole = name.removeprefix(PREFIX)
    match = _SLICE.fullmatch(whole)
    if whole in all_entries() or match is None:
        return whole, None
    return match[1], round(float(match[2]) * _SCALES[match[3]])


def _configured(known: Entry, config: str) -> Entry:
    if not known.configs:
        if config:
            raise UsageError(f"{known.name} has no configurations, and {config} names one", f"name it {known.name}")
        return known
    if not config and known.usual_config is None:
        examples = ", ".join(f"{known.name}:{one}" for one in known.configs)
        raise UsageError(f"{known.name} is taken by language", f"name one, such as {examples}")
    return replace(known, config=config or str(known.usual_config))


def _split(known: Entry, split: str = "") -> Entry:
    if split and split not in known.splits:
        hint = did_you_mean(split, known.splits) or f"it has {', '.join(known.splits)}"
        raise UsageError(f"{known.name} has no split {split}", hint)
    return replace(known, split=split)


def _sliced(known: Entry, tokens: int | None) -> Entry:
    if tokens is None:
        return known
    if known.kind in ("evaluation", "rules"):
        raise UsageError(f"{known.name} is no text to train on, and has no slices", f"name it {known.name}")
    if tokens == 0:
        raise UsageError("a slice of no tokens holds nothing", f"name {known.name}_10M, say")
    return replace(known, tokens=tokens)
