"""Text to token shards: `pylm.prepare`, which is `pylm tokenize`. The work itself is done in Rust."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm import _rust
from pylm.data.cluster import share_of_work
from pylm.data.encoder import encoder_of
from pylm.data.own_tokenizer import Training, check_tokenizer, own_tokenizer
from pylm.data.sources import END, Opened, Sources, default_folder, opened
from pylm.data.storing import say_terms, stored
from pylm.data.streaming.files import Files, Reading
from pylm.data.streaming.steps import Limit, Taken
from pylm.errors import UsageError, did_you_mean
from pylm.tokenizer.native import parameters_named
from pylm.wording import call, options_marked, param

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer
    from pylm.tokenizer.report import Report

__all__ = ["Prepared", "ShardOptions", "prepare", "prepare_as_it_is", "prepare_text", "request_of"]

HEADERS = {"raw": "none", "llmc": "llmc"}  # a format, and what the pipeline calls its header

Say = Callable[[str], None]


@dataclass(frozen=True)
class ShardOptions:
    """The options of writing shards: what is written, and by whom; `prepare` says what each means."""

    val: float = 0.01
    shard_tokens: int = 100_000_000
    limit: str | None = None
    allow_special: tuple[str, ...] = ()
    format: str = "raw"
    threads: int = 0
    rank: int = 0
    world: int = 1
    ray: str | None = None
    force: bool = False
    dry_run: bool = False
    clean: str | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse what no pipeline can do."""
        for name in ("shard_tokens", "threads", "rank", "world"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise UsageError(f"{name} is {value!r}", "give a whole number, such as 2_000_000_000")
        if isinstance(self.val, bool) or not isinstance(self.val, int | float):
            raise UsageError(f"val is {self.val!r}", "give a number from 0 (none) to 0.9")
        if self.format not in HEADERS:
            hint = did_you_mean(self.format, HEADERS) or f"name one of {', '.join(HEADERS)}"
            raise UsageError(f"there is no format {self.format}", hint)
        if self.ray is not None and self.world > 1:
            refused = f"{param('rank')} and {param('world')}"
            raise UsageError(f"{param('ray')} shares the work by itself, without {refused}", "leave them out")


@dataclass
class Prepared:
    """The outcome of preparing data: `plan` is what was foreseen, the rest is None after a dry run.

    `cleaned` is the manifest of the text that was cleaned before, where that was asked for and had to be done.
    """

    folder: Path
    plan: dict[str, Any]
    manifest: dict[str, Any] | None = None
    found: bool = False
    replaced: str | None = None
    missing: int = 0
    progress: dict[str, float] = field(default_factory=dict)
    vocab_size: int = 0
    trained: bool = False
    cleaned: dict[str, Any] | None = None


def prepare(
    sources: Any,
    out: str | Path | None = None,
    *,
    tokenizer: Tokenizer | str | Path | None = None,
    vocab_size: int | None = None,
    model: str | None = None,
    pattern: str | None = None,
    specials: str | Sequence[str] = (),
    split: str = END,
    field: str | None = None,
    column: str | None = None,
    invalid: str = "error",
    skip_bad: bool = False,
    val: float = 0.01,
    shard_tokens: int = 100_000_000,
    limit: str | None = None,
    allow_special: str | Sequence[str] = (),
    format: str = "raw",
    threads: int = 0,
    rank: int | None = None,
    world: int | None = None,
    ray: str | None = None,
    store: bool = False,
    allow_private: bool = False,
    clean: bool | str | Mapping[str, Any] | None = None,
    force: bool = False,
    dry_run: bool = False,
    progress: Report | None = None,
    say: Say | None = None,
) -> Prepared:
    """Write token shards of text into a folder, or finish what an earlier call began there.

    ::

        pylm.prepare(["a.txt", "b.jsonl"], out="data/mine", tokenizer="gpt2")

    Args:
        sources: Files, folders, globs, `-` for stdin, or whatever else `pylm.data.source` takes: one or several.
        out: The folder; `data/` and the name of the first source if not given.
        tokenizer: A tokenizer, or what `Tokenizer.load` takes. Without one, one is trained on the text itself.
        vocab_size: Of the tokenizer to train; by the amount of text if not given.
        model: Of the tokenizer to train: `bpe`, `unigram` or `sp-bpe`.
        pattern: Pre-tokenizer of the tokenizer to train: a name or a regex.
        specials: Special tokens of the tokenizer to train.
        split: What stands between documents of a plain text: a string, `blank` (blank lines), `line` or `file`.
        field: The key of a jsonl line that holds the text; `text` if not given.
        column: The column of a parquet file that holds the text; `text` if not given.
        invalid: `error` or `replace`: what to do with bytes that are no UTF-8.
        skip_bad: Whether to leave out broken jsonl lines, counted and listed in the manifest.
        val: The share of documents kept for validation; blocks of the text where there are too few documents.
        shard_tokens: About how many tokens a shard gets.
        limit: `10000docs`, `1GB`, `100Mtok`: the first documents that reach it.
        allow_special: Special tokens that may stand in the text as tokens.
        format: `raw`, or `llmc` for files that begin with llm.c's header.
        threads: 0 for as many as there are cores.
        rank: Which share of the work this process does; Slurm's, else 0, if not given.
        world: How many processes share it; Slurm's, else 1, if not given.
        ray: The Ray cluster that shares it instead; `auto` is the one that this machine belongs to.
        store: Whether what is fetched of datasets and addresses is kept in pylm's cache.
        allow_private: Whether addresses of this machine and its own network may be read.
        clean: The rules that clean the text first, as `pylm.data.clean` does it, or several of its options, such as
            `{"rules": "gopher", "near": 0.9}`; True for its own defaults.
        force: Whether to replace what another run wrote.
        dry_run: Whether to say what it would take, and write nothing.
        progress: Called about five times a second.
        say: Called with sentences that a user wants to read.
    """
    say = say or (lambda _: None)
    training = Training(vocab_size, model, pattern, _several(specials))
    if tokenizer is not None and training.wishes:
        named = param(next(iter(training.wishes)))
        raise UsageError(
            f"{named} is for a tokenizer to train, and {param('tokenizer')} names one", "give one or the other"
        )
    rank, world = share_of_work(rank, world, ray, say)
    reading = {"split": split, "field": field, "column": column, "invalid": invalid, "skip_bad": skip_bad}
    if store:
        kept = stored(sources, allow_private=allow_private, progress=progress, say=say)
    else:
        kept = sources
        say_terms(sources, say)
    text = Sources.of(kept, **reading, allow_private=allow_private)
    options = ShardOptions(
        val, shard_tokens, limit, _several(allow_special), format, threads, rank, world, ray, force, dry_run,
        "fineweb" if clean is True else clean or None,
    )  # fmt: skip
    folder = default_folder(sources) if out is None else Path(out)
    return prepare_text(text, folder, training if tokenizer is None else tokenizer, options, progress, say)


def prepare_text(
    sources: Sources,
    folder: Path,
    tokenizer: Training | Tokenizer | str | Path,
    options: ShardOptions,
    progress: Report | None,
    say: Say,
) -> Prepared:
    """Do what `prepare` says, with its arguments put together."""
    if options.clean is not None:
        from pylm.data.cleaning.before import prepare_cleaned

        return prepare_cleaned(sources, folder, tokenizer, options, progress, say)
    return prepare_as_it_is(sources, folder, tokenizer, options, progress, say)


def prepare_as_it_is(
    sources: Sources,
    folder: Path,
    tokenizer: Training | Tokenizer | str | Path,
    options: ShardOptions,
    progress: Report | None,
    say: Say,
    cleaned: str | None = None,
) -> Prepared:
    """Write shards of text that nobody cleans, or somebody has: `cleaned` then says how."""
    if options.ray is not None and options.force:
        raise UsageError(
            f"{param('ray')} shares the work by itself, without {param('force', True)}", f"remove {folder} first"
        )
    if isinstance(tokenizer, Training) and options.world > 1:
        first = call("tokenizer train", "SOURCE", out="tok")
        raise UsageError("several processes cannot each train a tokenizer", f"train one first: {first}")
    if not isinstance(tokenizer, Training):
        sources, tokenizer, options = _slice_counted(sources, tokenizer, options)
    with parameters_named(), opened(sources, folder, _limits(sources, options, tokenizer), progress) as text:
        text_bytes, remarks = text.look()
        for remark in remarks:
            say(options_marked(remark))
        if options.ray is not None and (away := next((file for file in text.files if hasattr(file, "read")), None)):
            raise UsageError(
                f"{param('ray')} shares the work among machines, and {away.name} is no file that each of them has",
                "write it to a file that all of them see, and name that",
            )
        if isinstance(tokenizer, Training):
            tok, trained = own_tokenizer(
                text,
                sources.reading,
                text_bytes,
                folder,
                tokenizer,
                threads=options.threads,
                keep=not options.force,
                progress=progress,
                say=say,
            )
        else:
            tok, trained = _loaded(tokenizer), False
        check_tokenizer(tok, folder, options.allow_special, options.force, say)
        request = request_of(sources.reading, tok, options, cleaned) | {
            "training": tokenizer.wishes if isinstance(tokenizer, Training) else None
        }
        result = _write_shards(text, folder, request, tok, options, progress)
    outcome = {
        key: result.pop(key) for key in ("manifest", "found", "replaced", "missing", "progress") if key in result
    }
    trained = trained and not options.dry_run
    return Prepared(folder=folder, plan=result, vocab_size=tok.vocab_size, trained=trained, **outcome)


def _several(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _loaded(tokenizer: Tokenizer | str | Path) -> Tokenizer:
    from pylm.tokenizer import Tokenizer

    return tokenizer if isinstance(tokenizer, Tokenizer) else Tokenizer.load(tokenizer)


def _slice_counted(
    sources: Sources, tokenizer: Tokenizer | str | Path, options: ShardOptions
) -> tuple[Sources, Tokenizer | str | Path, ShardOptions]:
    """Let the pipeline cut a slice of a dataset where it counts the same tokens: then nothing of it is written down."""
    part = sources.parts[0]
    if len(sources.parts) > 1 or not isinstance(part, Taken) or not isinstance(part.stream, Files):
        return sources, tokenizer, options
    if part.limit.tokens is None or options.limit is not None or options.allow_special:
        return sources, tokenizer, options
    tok = _loaded(tokenizer)
    if tok.identity != part.limit.counting().identity or tok.eot is None:
        return sources, tok, options
    whole = replace(sources, parts=(part.stream,), reading=part.stream.reading)
    return whole, tok, replace(options, limit=f"{part.limit.tokens}tok")


def _limits(sources: Sources, options: ShardOptions, tokenizer: Training | Tokenizer | str | Path) -> list[Limit]:
    """Return how much is written of what is no file: as much as is taken, where that can be told before it is read."""
    if options.limit is None or all(isinstance(part, Files) for part in sources.parts):
        return []
    limit: dict[str, Any] = _rust.parse_limit(options.limit)
    if "tokens" not in limit:
        return [Limit(**limit)]
    tok = None if isinstance(tokenizer, Training) else _loaded(tokenizer)
    if tok is None or tok.eot is None:
        return []
    return [Limit(**limit, tokenizer=tok, allow_special=options.allow_special)]


def request_of(reading: Reading, tok: Tokenizer, options: ShardOptions, cleaned: str | None) -> dict[str, Any]:
    """Return what decides the bytes of the shards; job.json keeps it, and another one is another job."""
    return {
        "tokenizer": tok.identity,
        "vocab_size": tok.vocab_size,
        "eot": tok.eot,
        "split": reading.split,
        "field": reading.field or "text",
        "column": reading.column or "text",
        "invalid": reading.invalid,
        "skip_bad": reading.skip_bad,
        "allow_special": sorted(set(options.allow_special)),
        "validation": options.val,
        "shard_tokens": options.shard_tokens,
        "limit": None if options.limit is None else _rust.parse_limit(options.limit),
        "header": HEADERS[options.format],
        "clean": cleaned,
    }


def _write_shards(
    text: Opened,
    folder: Path,
    request: dict[str, Any],
    tok: Tokenizer,
    options: ShardOptions,
    progress: Report | None,
) -> dict[str, Any]:
    """Let the pipeline work, here or on a cluster's machines, and return what it says of it."""
    asked: dict[str, Any] = {
        "sources": text.files,
        "folder": folder,
        "request": json.dumps(request),
        "threads": options.threads,
        "stdin": text.stdin,
        "stdin_jsonl": text.is_jsonl,
    }
    told = None if progress is None else _Told(progress)
    encoder = encoder_of(tok, options.allow_special)
    shared: dict[str, float] = {}
    if options.ray is not None and not options.dry_run:
        from pylm.data.cluster import spread

        units = _rust.tokenize(encoder=encoder, dry_run=True, **asked)["units"]
        everywhere = {**asked, "allow_special": list(options.allow_special)}
        shared = spread(options.ray, tok.files(), everywhere, units, told)
    result = _rust.tokenize(
        encoder=encoder,
        rank=options.rank,
        world=options.world,
        force=options.force,
        dry_run=options.dry_run,
        files=tok.files,
        progress=told,
        **asked,
    )
    if shared.get("units"):  # what was done is what the cluster did
        result |= {"found": False, "progress": shared}
    return result


class _Told:
    """A listener that turns the pipeline's counters into what a progress bar takes."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def __call__(self, now: dict[str, float]) -> None:
        speed = now["tokens"] / now["seconds"] if now["seconds"] else 0.0
        total = max(now["total_bytes"], now["bytes"])
        self.report(now["bytes"], total, phase="tokenize", unit="bytes", note=f"{speed / 1e6:.1f}M tokens/s")
