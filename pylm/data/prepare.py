"""Text to token shards: `prepare` is what `pylm tokenize` runs. The work itself is done in Rust."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pylm import _rust
from pylm.errors import PylmError, TokenizerError, UsageError
from pylm.tokenizer.unfinished import unfinished

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer

__all__ = ["Prepared", "Report", "Training", "default_folder", "default_vocab_size", "prepare"]

END = "<|endoftext|>"
SMALLEST_VOCABULARY = 272
BYTES = 256  # tokens of every vocabulary of bytes


class Report(Protocol):
    """Takes how far the work has come; `pylm.cli.frame.progress.Progress` is one."""

    def __call__(
        self,
        done: float,
        total: float | None = None,
        *,
        phase: str | None = None,
        unit: str | None = None,
        note: str = "",
    ) -> None:
        """Take what is done, of how much, in which phase."""


@dataclass(frozen=True)
class Training:
    """The tokenizer to train where none is given; what is None is chosen by the amount of text."""

    vocab_size: int | None = None
    model: str | None = None
    pattern: str | None = None
    specials: tuple[str, ...] = ()

    def recorded(self) -> dict[str, Any]:
        """What job.json keeps, so that the same request finds the tokenizer that it made."""
        named = {"vocab_size": self.vocab_size, "model": self.model, "pattern": self.pattern}
        kept = {key: value for key, value in named.items() if value is not None}
        return {**kept, "specials": list(self.specials)} if self.specials else kept


@dataclass
class Prepared:
    """What became of it: `plan` is what was foreseen, the rest is None after a dry run."""

    folder: Path
    plan: dict[str, Any]
    manifest: dict[str, Any] | None = None
    found: bool = False
    replaced: str | None = None
    missing: int = 0
    progress: dict[str, float] = field(default_factory=dict)
    vocab_size: int = 0
    trained: bool = False


def default_folder(sources: Sequence[str]) -> Path:
    """`data/` and the name of the first source without its suffixes."""
    first = sources[0] if sources else ""
    if first == "-":
        return Path("data") / "stdin"
    path = Path(re.split(r"[*?\[]", first)[0].rstrip("/") or ".")
    name = path.resolve().name if path.name in ("", ".", "..") else path.name
    if not path.is_dir():
        name = re.sub(r"(\.(txt|text|md|jsonl|ndjson|parquet))?(\.(gz|zst|zstd))?$", "", name, flags=re.IGNORECASE)
    name = re.sub("[\udc80-\udcff]", "_", name)  # bytes of a name that are no UTF-8, which no line could print
    return Path("data") / (name or "text")


def default_vocab_size(text_bytes: int) -> int:
    """The power of two below 4·sqrt(bytes): 4,096 for a megabyte, 32,768 from 70 MB on.

    A vocabulary pays while its rarest tokens are still seen often enough to be learned; the number of tokens that
    are seen n times grows with about the root of the text.
    """
    root = 4 * math.sqrt(max(text_bytes, 1))
    return min(32768, max(SMALLEST_VOCABULARY, 1 << int(math.log2(root))))


def prepare(
    sources: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    tokenizer: Tokenizer | str | Path | None = None,
    training: Training | None = None,
    split: str = END,
    val: float = 0.01,
    shard_tokens: int = 100_000_000,
    limit: str | None = None,
    field: str | None = None,
    column: str | None = None,
    invalid: str = "error",
    skip_bad: bool = False,
    allow_special: Sequence[str] = (),
    header: str = "none",
    threads: int = 0,
    rank: int = 0,
    world: int = 1,
    ray: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    for_training: bool = False,
    progress: Report | None = None,
    say: Callable[[str], None] | None = None,
) -> Prepared:
    """Write token shards of `sources` into `out`, or finish what an earlier call began there.

    Args:
        sources: Files, folders, globs, or `-` for stdin.
        out: The folder; `data/` and the name of the first source if not given.
        tokenizer: A tokenizer, or what `Tokenizer.load` takes. Without one, one is trained on the text itself.
        training: How to train it.
        split: What stands between documents of a plain text: a string, `blank` (blank lines), `line` or `file`.
        val: The share of documents kept for validation; blocks of the text where there are too few documents.
        shard_tokens: About how many tokens a shard gets.
        limit: `10000docs`, `1GB`, `100Mtok`: the first documents that reach it.
        field: The key of a jsonl line that holds the text; `text` if not given.
        column: The column of a parquet file that holds the text; `text` if not given.
        invalid: `error` or `replace`: what to do with bytes that are no UTF-8.
        skip_bad: Whether to leave out broken jsonl lines, counted and listed in the manifest.
        allow_special: Special tokens that may stand in the text as tokens.
        header: `llmc` for files that begin with llm.c's header.
        threads: 0 for as many as there are cores.
        rank: Which share of the work this process does.
        world: How many processes share it.
        ray: The Ray cluster that shares it instead; `auto` is the one that this machine belongs to.
        force: Whether to replace what another run wrote.
        dry_run: Whether to say what it would take, and write nothing.
        for_training: Whether `pylm train` asks: its hints are then whole lines, for it has none of the options here.
        progress: Called about five times a second.
        say: Called with sentences that a user wants to read.
    """
    named = [str(source) for source in sources]
    folder = Path(out) if out is not None else default_folder(named)
    say = say or (lambda _: None)
    if for_training:
        with _hints_of_train(named, folder):
            return prepare(sources, out, tokenizer=tokenizer, training=training, progress=progress, say=say)
    if ray is not None and (world > 1 or force):
        what, instead = ("--rank and --world", "leave them out") if world > 1 else ("--force", f"remove {folder} first")
        raise UsageError(f"--ray shares the work by itself, without {what}", instead)
    if tokenizer is None and world > 1:
        raise UsageError(
            "several processes cannot each train a tokenizer", "train one first: pylm tokenizer train SOURCE --out tok"
        )
    with _stdin(named, folder, jsonl=field is not None) as (stdin, stdin_jsonl):
        _, text_bytes, remarks = _rust.look_at_sources(named, stdin, stdin_jsonl)
        for remark in remarks:
            say(remark)
        made: dict[str, Any] | None = None
        if tokenizer is None:
            training = training or Training()
            made = training.recorded()
            real = [str(stdin) if source == "-" else source for source in named]
            reading = {"split": split, "field": field, "column": column, "invalid": invalid, "threads": threads}
            reading["skip_bad"] = skip_bad
            tok, trained = _own_tokenizer(real, text_bytes, folder, training, reading, not force, progress, say)
        else:
            tok, trained = _loaded(tokenizer), False
        if tok.eot is None:
            say("this tokenizer has no token that ends a document: nothing stands between one document and the next")
        if not force:
            _refuse_foreign(folder, tok)
        for name in allow_special:
            if name not in tok.specials:
                known = ", ".join(tok.specials) or "it has none"
                raise UsageError(f"{name!r} is no special token of this tokenizer", f"its special tokens: {known}")
        request = {
            "tokenizer": tok.identity,
            "vocab_size": tok.vocab_size,
            "eot": tok.eot,
            "split": split,
            "field": field or "text",
            "column": column or "text",
            "invalid": invalid,
            "skip_bad": skip_bad,
            "allow_special": sorted(set(allow_special)),
            "validation": val,
            "shard_tokens": shard_tokens,
            "limit": None if limit is None else _rust.parse_limit(limit),
            "header": header,
            "training": made,
        }
        asked: dict[str, Any] = {
            "sources": named,
            "folder": folder,
            "request": json.dumps(request),
            "threads": threads,
            "stdin": stdin,
            "stdin_jsonl": stdin_jsonl,
        }
        told = None if progress is None else _Told(progress)
        encoder = encoder_of(tok, allow_special)
        shared: dict[str, float] = {}
        if ray is not None and not dry_run:
            from pylm.data.cluster import spread

            units = _rust.tokenize(encoder=encoder, dry_run=True, **asked)["units"]
            shared = spread(ray, tok.files(), {**asked, "allow_special": list(allow_special)}, units, told)
        result = _rust.tokenize(
            encoder=encoder,
            rank=rank,
            world=world,
            force=force,
            dry_run=dry_run,
            files=tok.files,
            progress=told,
            **asked,
        )
        if shared.get("units"):  # what was done is what the cluster did
            result |= {"found": False, "progress": shared}
    outcome = {
        key: result.pop(key) for key in ("manifest", "found", "replaced", "missing", "progress") if key in result
    }
    return Prepared(folder=folder, plan=result, vocab_size=tok.vocab_size, trained=trained and not dry_run, **outcome)


class _Told:
    """Turns the pipeline's counters into what a progress bar takes."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def __call__(self, now: dict[str, float]) -> None:
        speed = now["tokens"] / now["seconds"] if now["seconds"] else 0.0
        total = max(now["total_bytes"], now["bytes"])
        self.report(now["bytes"], total, phase="tokenize", unit="bytes", note=f"{speed / 1e6:.1f}M tokens/s")


def _loaded(tokenizer: Tokenizer | str | Path) -> Tokenizer:
    from pylm.tokenizer import Tokenizer

    return tokenizer if isinstance(tokenizer, Tokenizer) else Tokenizer.load(tokenizer)


def _refuse_foreign(folder: Path, tok: Tokenizer) -> None:
    """Keep a tokenizer.json that no run of ours wrote: it may be the only copy of somebody's."""
    path = folder / "tokenizer.json"
    if (folder / "job.json").exists() or not path.exists():
        return
    from pylm.tokenizer import Tokenizer

    try:
        there: str | None = Tokenizer.load(path).identity
    except PylmError:
        there = None
    if there != tok.identity:
        raise UsageError(
            f"{folder} holds another tokenizer.json, which shards there would replace",
            f"choose another --out, encode with it by --tokenizer {folder}, or give --force",
        )


def encoder_of(tok: Tokenizer, allow_special: Sequence[str]) -> Any:
    """What the pipeline calls: the Rust encoder itself, or a function of batches that takes the interpreter's lock."""
    bpe = getattr(tok.backend, "bpe", None)
    if bpe is not None:
        return bpe
    allowed = set(allow_special)
    return lambda texts: tok.encode_batch(texts, allowed_special=allowed)


def _own_tokenizer(
    sources: list[str],
    text_bytes: int,
    folder: Path,
    training: Training,
    reading: dict[str, Any],
    keep: bool,
    progress: Report | None,
    say: Callable[[str], None],
) -> tuple[Tokenizer, bool]:
    """The tokenizer that an earlier run trained for this folder, else a new one; and whether it is new."""
    from pylm.tokenizer import Tokenizer

    if keep and (folder / "tokenizer.json").exists() and _rust.shards_training(folder) == training.recorded():
        return Tokenizer.load(folder), False
    options = {
        "model": training.model,
        "pattern": training.pattern,
        "specials": training.specials or None,
        "progress": progress,
        **reading,
    }
    if training.vocab_size is not None:
        return Tokenizer.train(sources, training.vocab_size, **options), True
    size = default_vocab_size(text_bytes)
    amount = f"{text_bytes / 1e6:,.1f} MB" if text_bytes >= 1e6 else f"{text_bytes / 1e3:,.1f} kB"
    say(f"no --tokenizer: building a vocabulary of {size:,} tokens from this text of {amount}")
    try:
        return Tokenizer.train(sources, size, **options), True
    except TokenizerError as error:
        # short or uniform text has fewer merges to give, and the trainer says how many
        possible = re.search(r"vocabulary of ([\d,]+) (?:or less|at most)", f"{error.message} {error.hint}")
        most = int(possible[1].replace(",", "")) if possible else 0
        if not BYTES < most < size:
            raise
        size = most
    say(f"the text has no more to give: a vocabulary of {size:,} tokens")
    return Tokenizer.train(sources, size, **options), True


# what hints of tokenize name, the best first, and what stands for a value that a hint leaves open
OPTIONS = {
    r"--invalid replace": None,
    r"--field [^\s;,]+": None,
    r"--skip-bad": None,
    r"--column": "--column COLUMN",
    r"--split": "--split STRING",
}


@contextmanager
def _hints_of_train(sources: Sequence[str], folder: Path) -> Iterator[None]:
    """Where a hint names an option that `pylm train` does not have, give the two lines that do the same."""
    try:
        yield
    except PylmError as error:
        hint = error.hint or ""
        found = [(match[0], value) for option, value in OPTIONS.items() if (match := re.search(option, hint))]
        if not found:
            raise
        option, value = found[0]
        words = shlex.join(sources)
        line = f"pylm tokenize {words} {value or option}, then pylm train --data {shlex.quote(str(folder))}"
        if value is not None and "; " in hint:  # what there is to choose from
            line += f"; {hint.split('; ', 1)[1]}"
        raise type(error)(error.message, line) from None


@contextmanager
def _stdin(sources: Sequence[str], folder: Path, jsonl: bool) -> Iterator[tuple[Path | None, bool]]:
    """The file that stdin was written to, and whether it holds jsonl; None where stdin is no source.

    A source is read more than once: for a sample, for the tokenizer, for the shards.
    """
    if "-" not in sources:
        yield None, False
        return
    parent = folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    with unfinished(folder, "stdin") as spool:
        path = spool / "stdin"
        _rust.spool_stdin(path)
        with path.open("rb") as file:
            first = file.readline(1 << 20)
        jsonl = jsonl or _is_json_object(first)
        suffix = ".jsonl" if jsonl else ".txt"
        if first[:2] == b"\x1f\x8b":
            suffix += ".gz"
        elif first[:4] == b"\x28\xb5\x2f\xfd":
            suffix += ".zst"
        elif first[:4] == b"PAR1":
            suffix = ".parquet"
        # the suffix is how the trainer, which is given a path, knows what is in it
        whole = path.with_suffix(suffix)
        os.replace(path, whole)
        yield whole, jsonl


def _is_json_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
