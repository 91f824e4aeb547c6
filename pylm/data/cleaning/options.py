"""What is asked of cleaning, checked and put into the words of the pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pylm import _rust
from pylm.errors import UsageError, did_you_mean
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.data.streaming.files import Reading

__all__ = ["CleanOptions", "Settings", "changed", "value_of"]

RULES = ("fineweb", "fineweb2", "gopher", "c4", "none")
KEEP = ("first", "longest", "newest", "best:FIELD")
UNIT = 32 << 20  # bytes that are done, or done again, as a whole
FILE = 256 << 20  # bytes of text of a file that is written

Settings = Mapping[str, Any] | Sequence[str]


@dataclass(frozen=True)
class CleanOptions:
    """The options of cleaning that decide what is kept and written; `clean` says what each means."""

    rules: str = "fineweb"
    set: Settings = ()
    near: str | float = "0.8"
    shingle: int | None = None
    exact: bool = True
    keep: str = "first"
    rehydrate: bool = False
    compress: str | None = None
    keep_removed: bool = False
    tags_only: bool = False

    def __post_init__(self) -> None:
        """Refuse what no pipeline can do."""
        for name in ("exact", "rehydrate", "keep_removed", "tags_only"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} is {getattr(self, name)!r}", "give True or False")
        if self.compress not in (None, "zst"):
            raise UsageError(f"compress is {self.compress!r}", f"{param('compress', 'zst')} is all there is")
        if self.tags_only and self.keep_removed:
            both = f"{param('tags_only', True)} writes no text, and {param('keep_removed', True)} writes more of it"
            raise UsageError(both, "give one of them")
        _keep(self.keep)

    def request(self, reading: Reading) -> dict[str, Any]:
        """Return what decides the bytes of the output; job.json keeps it, and another one is another job."""
        name, _, _ = self.rules.partition(":")
        return {
            "split": reading.split,
            "field": reading.field or "text",
            "column": reading.column or "text",
            "invalid": reading.invalid,
            "skip_bad": reading.skip_bad,
            "named": name,
            "thresholds": "built-in",
            "rules": self.thresholds(),
            "exact": self.exact,
            "near": str(self.near),
            "shingle": self.shingle,
            "keep": _keep(self.keep),
            "rehydrate": self.rehydrate,
            "compress": self.compress is not None,
            "keep_removed": self.keep_removed,
            "tags_only": self.tags_only,
            "unit_bytes": UNIT,
            "file_bytes": FILE,
        }

    def thresholds(self) -> dict[str, Any]:
        """Return the families of rules and where they draw the line, by key and language."""
        name, _, _ = self.rules.partition(":")
        if name not in RULES:
            raise UsageError(f"there are no rules {name}", did_you_mean(name, RULES) or f"name one of {', '.join(RULES)}")
        return changed(json.loads(_rust.rules_preset(name)), self.set)


def changed(settings: dict[str, Any], given: Settings) -> dict[str, Any]:
    """Return settings of rules with keys set to what is given, each as `key=value` or in a mapping."""
    text = json.dumps(settings)
    for key, value in _pairs(given):
        text = _rust.rules_set(text, key, json.dumps(value))
    made: dict[str, Any] = json.loads(text)
    for own in made["languages"].values():  # what is typed holds for every language
        for key, _ in _pairs(given):
            own.pop(key, None)
    return made


def _pairs(given: Settings) -> list[tuple[str, Any]]:
    if isinstance(given, str):
        given = (given,)
    if isinstance(given, Mapping):
        return [(key, value_of(value) if isinstance(value, str) else value) for key, value in given.items()]
    pairs = []
    for one in given:
        key, equals, value = one.partition("=")
        if not equals:
            raise UsageError(f"{one} sets nothing", "write KEY=VALUE, such as gopher.word_count=100, or KEY=off")
        pairs.append((key.strip(), value_of(value.strip())))
    return pairs


def value_of(text: str) -> Any:
    """Return what a value that was typed means: a number, `on`, `off`, or text."""
    if text in ("off", "null", "none"):
        return None
    if text in ("on", "true", "false"):
        return text != "false"
    try:
        return float(text) if any(sign in text for sign in ".e") else int(text)
    except ValueError:
        return text


def _keep(keep: str) -> Any:
    kind, _, field = keep.partition(":")
    if kind == "best" and field:
        return {"best": field}
    if keep not in KEEP[:3]:
        hint = did_you_mean(keep, KEEP[:3]) or f"it is one of {', '.join(KEEP)}"
        raise UsageError(f"{param('keep', keep)} says not which of several duplicates stays", hint)
    return keep
