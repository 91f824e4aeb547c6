"""What is asked of cleaning, checked and put into the words of the pipeline."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pylm import _rust
from pylm.data.cleaning import languages
from pylm.data.cleaning.against import Row, items_of
from pylm.data.getting.manifest import sha256_of
from pylm.errors import UsageError, did_you_mean
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.data.streaming.files import Reading

__all__ = ["Asked", "CleanOptions", "Settings", "changed", "pairs"]

RULES = ("fineweb", "fineweb2", "gopher", "c4", "none")
PII = ("mask", "tag", "off")
REPAIRS = ("mojibake", "controls", "invisible", "whitespace", "nfc", "wide_blanks")  # the last where it is named
KEEP = ("first", "longest", "newest", "best:FIELD")
UNIT = 32 << 20  # bytes that are done, or done again, as a whole
FILE = 256 << 20  # bytes of text of a file that is written
MOST = 1 << 63  # what Rust's numbers hold

Settings = Mapping[str, Any] | Sequence[str]


@dataclass(frozen=True)
class CleanOptions:
    """The options of cleaning that decide what is kept and written; `clean` says what each means."""

    rules: str = "fineweb"
    set: Settings = ()
    bad_words: str | Path | None = None
    languages: str | Sequence[str] = ()
    language_model: str | Path | None = None
    classifier: str | Sequence[str] = ()
    url_list: str | Path | Sequence[str | Path] = ()
    against: str | Sequence[str] = ()
    ngram: int = 13
    repair: bool | str | Sequence[str] = True
    pii: str = "mask"
    near: str | float = 0.8
    shingle: int | None = None
    exact: bool = True
    keep: str = "first"
    rehydrate: bool = False
    lines: int | None = None
    paragraphs: int | None = None
    spans: int | None = None
    compress: str | None = None
    keep_removed: bool = False
    tags_only: bool = False

    @classmethod
    def of(cls, given: bool | str | Mapping[str, Any] | None) -> CleanOptions:
        """Return the options that are called by rules, or by names with values as a configuration has them."""
        if not isinstance(given, Mapping):
            return cls(rules=given) if isinstance(given, str) else cls()
        known = {one.name: one for one in fields(cls)}
        for name in given:
            if name not in known:
                hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
                raise UsageError(f"cleaning has no option {name}", hint)
        return cls(**{name: _plain(value, str(known[name].type)) for name, value in given.items()})

    def __post_init__(self) -> None:
        """Refuse what no pipeline can do."""
        for name in ("exact", "rehydrate", "keep_removed", "tags_only"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} is {getattr(self, name)!r}", "give True or False")
        for name, least in (("shingle", 1), ("ngram", 1), ("lines", 2), ("paragraphs", 2), ("spans", 1)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise UsageError(f"{name} is {value!r}", f"give a whole number from {least} on")
            if value is not None and value >= MOST:
                raise UsageError(f"{name} is {value}", "no text has so many")
        for name in ("rules", "pii", "keep"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"{name} is {getattr(self, name)!r}", "give one of its names as text")
        if self.compress not in (None, "zst"):
            raise UsageError(f"compress is {self.compress!r}", f"{param('compress', 'zst')} is all there is")
        if self.pii not in PII:
            hint = did_you_mean(self.pii, PII) or f"it is one of {', '.join(PII)}"
            raise UsageError(f"pii is {self.pii!r}", hint)
        if self.tags_only and self.keep_removed:
            both = f"{param('tags_only', True)} writes no text, and {param('keep_removed', True)} writes more of it"
            raise UsageError(both, "give one of them")

    def asked(self, reading: Reading) -> Asked:
        """Return what the pipeline is asked."""
        tests, items = items_of(_several(self.against))
        classifiers, lists = _several(self.classifier), _several(self.url_list)
        rules, thresholds, scores = self.thresholds()
        named = [*lists, *map(_rust.classifier_file, classifiers), *rule_files(rules)]
        if self.language_model is not None:
            named.append(str(self.language_model))
        request = {
            "split": reading.split,
            "field": reading.field or "text",
            "column": reading.column or "text",
            "invalid": reading.invalid,
            "skip_bad": reading.skip_bad,
            "repairs": _repairs(self.repair),
            "pii": self.pii,
            "languages": codes_of(_several(self.languages)),
            "language_scores": scores,
            "language_model": None if self.language_model is None else str(self.language_model),
            "classifiers": classifiers,
            "url_lists": lists,
            "against": tests,
            "ngram": self.ngram,
            "lines": self.lines,
            "paragraphs": self.paragraphs,
            "spans": self.spans,
            "files": {name: digest for name in sorted({*named}) for digest in _digest(Path(name))},
            "named": self.rules.partition(":")[0],
            "thresholds": thresholds,
            "rules": rules,
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
        return Asked(request, items)

    def thresholds(self) -> Thresholds:
        """Return where the rules draw the line by key and language, where that is from, and how sure of languages."""
        name, _, folder = self.rules.partition(":")
        if name not in RULES:
            hint = did_you_mean(name, RULES) or f"name one of {', '.join(RULES)}"
            raise UsageError(f"there are no rules {name}", hint)
        if folder and name != "fineweb2":
            raise UsageError(f"the rules {name} read no folder", "fineweb2:FOLDER reads the files of FineWeb-2")
        given = pairs(self.set)
        if self.bad_words is not None:
            given.append(("bad_words.file", str(self.bad_words)))
        settings = changed(json.loads(_rust.rules_preset(name)), given)  # now each family that is asked for is named
        if folder:
            settings, scores = languages.fineweb2(settings, folder)
            return Thresholds(changed(settings, given), "fineweb2", scores)
        return Thresholds(changed(languages.built_in(settings), given), "built-in", {})


class Thresholds(NamedTuple):
    """Settings of rules, where those by language are from, and the least probability of each language."""

    rules: dict[str, Any]
    origin: str
    scores: dict[str, float]


class Asked(NamedTuple):
    """What decides the bytes of the output, which job.json keeps, and the items of the tests that it names."""

    request: dict[str, Any]
    items: list[Row]


def codes_of(named: Sequence[str]) -> list[str]:
    """Return the codes of languages as people call them."""
    names = [name for one in named for name in one.split(",") if name.strip()]
    return sorted({code for name in names for code in languages.resolve(name)})


def changed(settings: dict[str, Any], given: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return settings of rules with keys set to what is given."""
    text = json.dumps(settings)
    for key, value in given:
        text = _rust.rules_set(text, key, json.dumps(value))
    made: dict[str, Any] = json.loads(text)
    made["default"] = dict(sorted(made["default"].items()))  # the same settings are the same bytes
    for own in made["languages"].values():  # what is typed holds for every language
        for key, _ in given:
            own.pop(key, None)
    return made


def pairs(given: Settings) -> list[tuple[str, Any]]:
    """Return keys and values that were given as `key=value` or in a mapping."""
    if isinstance(given, str):
        given = (given,)
    if isinstance(given, Mapping):
        wrong = next((key for key in given if not isinstance(key, str)), None)
        if wrong is not None:
            raise UsageError(f"there is no rule {wrong!r}", 'keys are text: {"gopher.word_count": 100}')
        return [(key, _value(value) if isinstance(value, str) else value) for key, value in given.items()]
    pairs = []
    for one in given:
        key, equals, value = one.partition("=")
        if not equals:
            raise UsageError(f"{one} sets nothing", "write KEY=VALUE, such as gopher.word_count=100, or KEY=off")
        pairs.append((key.strip(), _value(value.strip())))
    return pairs


def _value(text: str) -> Any:
    """Return what a value that was typed means: a number, `on`, `off`, or text."""
    if text in ("off", "null", "none"):
        return None
    if text in ("on", "true", "false"):
        return text != "false"
    try:
        return float(text) if any(sign in text for sign in ".e") else int(text)
    except ValueError:
        return text


def _plain(value: Any, kind: str) -> Any:
    """Return the number, or the yes or no, that a text stands for where an option is one."""
    if isinstance(value, str) and kind.startswith(("bool", "int")):
        read = _value(value)
        return False if read is None and kind == "bool" else read
    return value


def _several(given: Any) -> list[str]:
    """Return names that were given as one, which may have commas, or as several."""
    several = [given] if isinstance(given, str | os.PathLike) or not isinstance(given, Iterable) else given
    names = []
    for one in several:
        if not isinstance(one, str | os.PathLike):
            raise UsageError(f"{one!r} is no name", "give text, or a list of texts")
        names.append(os.fspath(one))
    return names


def _repairs(repair: bool | str | Sequence[str]) -> dict[str, bool]:
    if isinstance(repair, bool):
        wanted = list(REPAIRS[:-1]) if repair else []
    else:
        named = [name.strip() for one in _several(repair) for name in one.split(",")]
        wanted = [] if named == ["off"] else named
    for name in wanted:
        if name not in REPAIRS:
            hint = did_you_mean(name, REPAIRS) or f"there are {', '.join(REPAIRS)}; off makes none"
            raise UsageError(f"there is no repair {name}", hint)
    return {name: name in wanted for name in REPAIRS}


def _digest(path: Path) -> Iterator[str]:
    """Give the sha256 of a file, or of a folder's names and files; nothing of what is not there: its reader says so."""
    if path.is_file():
        yield sha256_of(path)
    elif path.is_dir():
        # what a list means is said by its name: the words of `banned_words` are none of `domains`
        files = sorted(one for one in path.rglob("*") if one.is_file())
        told = "".join(f"{one.relative_to(path)}\0{sha256_of(one)}\n" for one in files)
        yield hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()


def rule_files(rules: dict[str, Any]) -> list[str]:
    """Return the files that rules read."""
    values = [rules["default"], *rules["languages"].values()]
    return [own[key] for own in values for key in ("bad_words.file", "banned.file") if own.get(key)]


def _keep(keep: str) -> Any:
    kind, _, field = keep.partition(":")
    if kind == "best" and field:
        return {"best": field}
    if keep not in KEEP[:3]:
        hint = did_you_mean(keep, KEEP[:3]) or f"it is one of {', '.join(KEEP)}"
        raise UsageError(f"{param('keep', keep)} says not which of several duplicates stays", hint)
    return keep
