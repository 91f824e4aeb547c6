"""`pylm.data.clean`, which is `pylm data clean`. The work itself is done in Rust."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from pylm import _rust
from pylm.data.cleaning.options import MOST, Asked, CleanOptions, Settings
from pylm.data.cluster import share_of_work
from pylm.data.sources import END, Opened, Sources, opened
from pylm.data.storing import say_terms
from pylm.data.streaming.iteration import Source
from pylm.errors import UsageError
from pylm.tokenizer.native import parameters_named
from pylm.wording import options_marked, param

if TYPE_CHECKING:
    from pylm.tokenizer.report import Report

__all__ = ["Cleaned", "Work", "clean", "clean_opened", "clean_sources"]

Say = Callable[[str], None]


@dataclass
class Cleaned:
    """The outcome of cleaning: `plan` is what was foreseen, `manifest` is None after a dry run or another rank's turn.

    Attributes:
        folder: Where it lies.
        plan: How many files, bytes and units there are.
        manifest: What manifest.json says.
        found: Whether it was there already.
        replaced: How many files of an earlier run `force` replaced.
        missing: Units that other ranks have yet to clean.
        progress: Seconds, and bytes of text in them.
    """

    folder: Path
    plan: dict[str, Any]
    manifest: dict[str, Any] | None = None
    found: bool = False
    replaced: int = 0
    missing: int = 0
    progress: dict[str, float] = field(default_factory=dict)

    @property
    def source(self) -> Source:
        """The text that was kept."""
        from pylm.data.streaming.stream_of import source

        return source(self.folder)


@dataclass(frozen=True)
class Work:
    """Who does the work and with what: nothing of it changes a byte of the outcome."""

    threads: int = 0
    memory: int = 2 << 30
    rank: int = 0
    world: int = 1
    force: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no number."""
        for name in ("threads", "memory", "rank", "world"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise UsageError(f"{name} is {value!r}", "give a whole number")
            if not -MOST <= value < MOST or (name == "memory" and value < 0):
                raise UsageError(f"{name} is {value}", "no machine has so many" if value > 0 else "give 0 or more")


@overload
def clean(source: Any, rules: str = ..., out: None = None, **options: Any) -> Source: ...
@overload
def clean(source: Any, rules: str = ..., *, out: str | Path, **options: Any) -> Cleaned: ...
@overload
def clean(source: Any, rules: str, out: str | Path, **options: Any) -> Cleaned: ...
def clean(  # type: ignore[misc]  # the options are those below, for all three
    source: Any,
    rules: str = "fineweb",
    out: str | Path | None = None,
    *,
    set: Settings = (),
    bad_words: str | Path | None = None,
    languages: str | Sequence[str] = (),
    language_model: str | Path | None = None,
    classifier: str | Sequence[str] = (),
    url_list: str | Path | Sequence[str | Path] = (),
    against: str | Sequence[str] = (),
    ngram: int = 13,
    repair: bool | str | Sequence[str] = True,
    pii: str = "mask",
    near: str | float = 0.8,
    shingle: int | None = None,
    exact: bool = True,
    keep: str = "first",
    rehydrate: bool = False,
    lines: int | None = None,
    paragraphs: int | None = None,
    spans: int | None = None,
    compress: Literal["zst"] | None = None,
    keep_removed: bool = False,
    tags_only: bool = False,
    split: str = END,
    field: str | None = None,
    column: str | None = None,
    invalid: str = "error",
    skip_bad: bool = False,
    limit: str | None = None,
    allow_private: bool = False,
    threads: int = 0,
    memory: int | str = "2G",
    rank: int | None = None,
    world: int | None = None,
    force: bool = False,
    dry_run: bool = False,
    progress: Report | None = None,
    say: Say | None = None,
) -> Source | Cleaned:
    """Clean text: repair it, leave out what rules, languages and duplicates say, and write what was found of it.

    ::

        pylm.data.clean("crawl.jsonl", out="data/clean")
        for document in pylm.data.clean(rows, rules="gopher"): ...

    Args:
        source: Files, folders, globs, `-` for stdin, or whatever else `pylm.data.source` takes: one or several.
        rules: `fineweb`, `fineweb2`, `gopher`, `c4` or `none`; `fineweb2:FOLDER` with its own filter files.
        out: The folder. Without one a source of the kept text is returned, whose first iteration cleans.
        set: Thresholds by key, such as `{"gopher.word_count": 100, "c4.sentences": None}`; None is off.
        bad_words: A file of words, or a folder of one a language, any of which removes a document.
        languages: Those that stay: `en`, `deu_Latn`, `Japanese`; all of them if none is named.
        language_model: A fastText model that names languages, in place of what is built in.
        classifier: `FILE:LABEL>=X`: what a fastText classifier must say of a document; one or several.
        url_list: Files or folders of domains, addresses and words that a document's `url` is not to hold.
        against: Tests whose items are looked for, each a file or a name; documents that hold one go.
        ngram: Words of an item that must stand in a row.
        repair: The repairs: all of `mojibake`, `controls`, `invisible`, `whitespace` and `nfc`, or those named.
        pii: `mask` puts a placeholder for each mail and public IPv4 address, `tag` says where they are, or `off`.
        near: The share of shingles from which two documents are near-duplicates; `fineweb` for its MinHash, `off`.
        shingle: Words of a shingle; 5, and 8 characters where words are not spaced, if not given.
        exact: Whether copies are left out.
        keep: Which of several duplicates stays: `first`, `longest`, `newest` or `best:FIELD`.
        rehydrate: Whether what stays is written as often as the size of its cluster speaks for, as FineWeb-2 does it.
        lines: Drop lines that stand in so many documents from all but the first.
        paragraphs: The same of paragraphs.
        spans: The same of three sentences in a row.
        compress: `zst` for compressed files.
        keep_removed: Whether what is removed is kept aside with its text.
        tags_only: Whether nothing but tags and the report is written.
        split: What stands between documents of a plain text: a string, `blank` (blank lines), `line` or `file`.
        field: The key of a jsonl line that holds the text; `text` if not given.
        column: The column of a parquet file that holds the text; `text` if not given.
        invalid: `error` or `replace`: what to do with bytes that are no UTF-8.
        skip_bad: Whether to leave out broken jsonl lines, counted and listed in the report.
        limit: `10000docs`, `1GB`, `100Mtok`: the first documents that reach it.
        allow_private: Whether addresses of this machine and its own network may be read.
        threads: 0 for as many as there are cores.
        memory: Bytes that the search for duplicates may use; what is more goes through files.
        rank: Which share of the work this process does; Slurm's, else 0, if not given.
        world: How many processes share it; Slurm's, else 1, if not given.
        force: Whether to replace what another run wrote.
        dry_run: Whether to say how much there is, and write nothing.
        progress: Called about five times a second.
        say: Called with sentences that a user wants to read.
    """
    options = CleanOptions(
        rules=rules,
        set=set,
        bad_words=bad_words,
        languages=languages,
        language_model=language_model,
        classifier=classifier,
        url_list=url_list,
        against=against,
        ngram=ngram,
        repair=repair,
        pii=pii,
        near=near,
        shingle=shingle,
        exact=exact,
        keep=keep,
        rehydrate=rehydrate,
        lines=lines,
        paragraphs=paragraphs,
        spans=spans,
        compress=compress,
        keep_removed=keep_removed,
        tags_only=tags_only,
    )
    reading = {"split": split, "field": field, "column": column, "invalid": invalid, "skip_bad": skip_bad}
    say = say or (lambda _: None)
    say_terms(source, say)
    sources = Sources.of(_limited(source, limit, reading), **reading, allow_private=allow_private)
    if out is None:
        return _lazily(sources, options, Work(threads, _bytes(memory)), force, dry_run, progress, say)
    rank, world = share_of_work(rank, world, None, say)
    return clean_sources(
        sources, Path(out), options, Work(threads, _bytes(memory), rank, world, force, dry_run), progress, say
    )


def clean_sources(
    sources: Sources, folder: Path, options: CleanOptions, work: Work, progress: Report | None, say: Say
) -> Cleaned:
    """Do what `clean` says, with its arguments put together."""
    with parameters_named(), opened(sources, folder, progress=progress, rows=True) as text:
        for remark in text.look()[1]:
            say(options_marked(remark))
        return clean_opened(text, options.asked(sources.reading), folder, work, progress)


def clean_opened(text: Opened, asked: Asked, folder: Path, work: Work, progress: Report | None) -> Cleaned:
    """Clean what is open already."""
    from pylm.data.cleaning.report import write as write_report

    result = _rust.clean(
        text.files,
        folder,
        json.dumps(asked.request),
        items=asked.items,
        threads=work.threads,
        memory=work.memory,
        rank=work.rank,
        world=work.world,
        force=work.force,
        dry_run=work.dry_run,
        stdin=text.stdin,
        stdin_jsonl=text.is_jsonl,
        show=write_report,
        progress=None if progress is None else _Told(progress),
    )
    keys = ("manifest", "found", "replaced", "missing", "progress")
    outcome = {key: result.pop(key) for key in keys if key in result}
    return Cleaned(folder, result, **outcome)


def _lazily(
    sources: Sources, options: CleanOptions, work: Work, force: bool, dry_run: bool, progress: Report | None, say: Say
) -> Source:
    from pylm.data.cleaning.lazily import CleanedStream

    for name, given in (("force", force), ("dry_run", dry_run), ("tags_only", options.tags_only)):
        if given:
            raise UsageError(f"{param(name, True)} is of a folder, and none is named", f"name one with {param('out')}")
    options.asked(sources.reading)  # what is wrong is said now, not when the first document is asked for
    return Source(CleanedStream(lambda folder: clean_sources(sources, folder, options, work, progress, say)))


def _limited(source: Any, limit: str | None, reading: dict[str, Any]) -> Any:
    """Return as much of the sources as is wanted."""
    if limit is None:
        return source
    from pylm.data.streaming.stream_of import source as source_of

    amount: dict[str, Any] = _rust.parse_limit(limit)
    return source_of(source, **reading).take(**amount)


def _bytes(memory: int | str) -> int:
    from pylm.config.units import parse_bytes

    try:
        return parse_bytes(memory) if isinstance(memory, str) else memory
    except ValueError as error:
        raise UsageError(str(error), f"give {param('memory')} as 2G or 500M") from None


class _Told:
    """A listener that turns the pipeline's counters into what a progress bar takes."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def __call__(self, now: dict[str, float]) -> None:
        speed = now["documents"] / now["seconds"] if now["seconds"] else 0.0
        total = max(now["total_bytes"], now["bytes"])
        self.report(now["bytes"], total, phase="clean", unit="bytes", note=f"{speed:,.0f} documents/s")
