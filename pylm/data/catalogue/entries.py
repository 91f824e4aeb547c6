"""The entries of the catalogue, read from datasets.json beside this file.

Each fact there has the day on which it was last compared with what its publisher, or a program that reads the files,
wrote; null where nobody could. A fact is no more than that: `pylm.data.get` pins, lists and verifies for itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Entry", "Fact", "Part", "all_entries"]

FILE = Path(__file__).with_name("datasets.json")


@dataclass(frozen=True)
class Fact:
    """Something that others decide, and the day on which it was last seen to be so; None where nobody could check."""

    value: Any
    verified: str | None = None

    @classmethod
    def of(cls, written: Mapping[str, Any] | None) -> Fact:
        """Return a fact of the file; one that it does not have is not known."""
        return cls(None) if written is None else cls(written["value"], written["verified"])


@dataclass(frozen=True)
class Part:
    """Where files lie: in a repository of the Hub, at addresses, or at the addresses that a list of paths gives.

    Attributes:
        repository: `org/name` on the Hub.
        revision: Its commit, or a branch where no commit is known.
        files: By split, the rules that find its files: a regex of the configuration and a glob, the first that finds
            any. The glob takes groups of the regex.
        urls: Addresses of files.
        names: What the files are called here; the addresses' last words if not given.
        sha256, git_sha1: What the addresses' contents hash to.
        paths: The address of a packed list of paths, with `{config}`.
        base: What stands before each path of the list.
        file_size: Bytes of one file, about, where no listing says it.
    """

    repository: str | None = None
    revision: Fact = Fact(None)
    files: Fact = Fact(None)
    urls: Fact = Fact(None)
    names: tuple[str, ...] = ()
    sha256: Fact = Fact(None)
    git_sha1: Fact = Fact(None)
    paths: Fact = Fact(None)
    base: str = ""
    file_size: Fact = Fact(None)

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> Part:
        """Return a part of the file."""
        facts = ("revision", "files", "urls", "sha256", "git_sha1", "paths", "file_size")
        of_file: dict[str, Any] = {key: written[key] for key in ("repository", "base") if key in written}
        of_file.update({key: Fact.of(written.get(key)) for key in facts})
        return cls(names=tuple(written.get("names", ())), **of_file)

    @property
    def where(self) -> str:
        """Say where it lies, as `hub:org/name` or an address."""
        if self.repository is not None:
            return f"hub:{self.repository}"
        return str(self.paths.value or self.urls.value[0])


@dataclass(frozen=True)
class Entry:
    """A dataset of the catalogue, with the configuration, split and slice that a name chose of it.

    Attributes:
        name: Its name without them.
        title: What it is, in a line.
        kind: `text`, `chat`, `shards` (of tokens), `evaluation` or `rules`.
        parts: Where its files lie; none where it is made `of` others.
        of: The names of the datasets that it is made of, in their order.
        reading: How its files are read, by the names that `pylm.prepare` takes.
        rule: The name of the rule that makes a document of a file's text, see `rules`.
        token_count: The column that holds each document's number of GPT-2 tokens.
        configs: Some of its configurations; none where it has no more than one.
        config: The chosen one; the usual one if none was named, empty where it has none.
        split: The chosen one; empty if none was named.
        tokens: How many GPT-2 tokens the slice has; None for all of it.
        terms: Sentences that everybody reads before it is fetched.
        language: Of its text, where it has one.
    """

    name: str
    title: str
    kind: str
    licence: Fact
    size: Fact
    documents: Fact
    columns: Fact
    parts: tuple[Part, ...] = ()
    of: tuple[str, ...] = ()
    reading: Mapping[str, str] = field(default_factory=dict)
    rule: str | None = None
    token_count: str | None = None
    configs: tuple[str, ...] = ()
    usual_config: str | None = None
    config: str = ""
    split: str = ""
    tokens: int | None = None
    terms: tuple[str, ...] = ()
    attribution: str = ""
    note: str = ""
    language: str = ""

    @classmethod
    def of_file(cls, name: str, written: Mapping[str, Any]) -> Entry:
        """Return an entry of the file."""
        config = written.get("config", {})
        plain = ("title", "kind", "reading", "rule", "token_count", "attribution", "note", "language")
        of_file: dict[str, Any] = {key: written[key] for key in plain if key in written}
        of_file |= {key: Fact.of(written[key]) for key in ("licence", "size", "documents", "columns")}
        of_file |= {key: tuple(written.get(key, ())) for key in ("of", "terms")}
        return cls(
            name,
            parts=tuple(map(Part.of, written.get("parts", ()))),
            configs=tuple(config.get("examples", ())),
            usual_config=config.get("default"),
            **of_file,
        )

    @property
    def full_name(self) -> str:
        """Return the name with what was chosen: `wikipedia:ja`, `fineweb_100M`."""
        config = "" if self.config == self.usual_config else self.config
        chosen = f":{self.config}:{self.split}" if self.split else f":{config}" if config else ""
        return self.name + chosen + ("" if self.tokens is None else f"_{spelled(self.tokens)}")

    @property
    def read_split(self) -> str:
        """Return the split that is read as text: the named one, else the first, which is train where there is one."""
        return self.split or self.splits[0]

    @property
    def spoken(self) -> str:
        """Return the language of its text, as far as its entry or its configuration says one."""
        return self.language or (self.config.rpartition(".")[2] if self.configs else "")

    @property
    def splits(self) -> tuple[str, ...]:
        """Return its splits, in the order of the catalogue."""
        rules = [part.files.value for part in self.parts if part.files.value]
        return tuple(rules[0]) if rules else ("train",)


def spelled(tokens: int) -> str:
    """Return the size of a slice as names have it: `10M`, `1B`."""
    scale, letter = (10**9, "B") if tokens >= 10**9 else (10**6, "M")
    return f"{tokens / scale:f}".rstrip("0").rstrip(".") + letter


@cache
def all_entries() -> dict[str, Entry]:
    """Return the entries by name, in the order of the file."""
    written = json.loads(FILE.read_text(encoding="utf-8"))
    return {name: Entry.of_file(name, one) for name, one in written.items()}
