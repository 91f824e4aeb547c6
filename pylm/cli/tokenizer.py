"""`pylm tokenizer`: train one on your own text, look at one, use one, compare several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pylm.cli.frame import group, json_option, print_json
from pylm.cli.types import BYTES, COUNT
from pylm.errors import DataError, UsageError

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer
    from pylm.tokenizer.compare import Comparison

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@group()
def tokenizer() -> None:
    """Train a tokenizer on your own text, look at one, use one, compare several."""


def text_options(function: Decorated) -> Decorated:
    """Add what says how sources are read."""
    for option in (
        click.option("--field", default="text", metavar="KEY", help="The key of a jsonl line that holds the text."),
        click.option("--column", default="text", metavar="NAME", help="The parquet column that holds the text."),
        click.option(
            "--split",
            metavar="STRING|blank|line|file",
            help="What stands between documents of a plain text.  [default: <|endoftext|>]",
        ),
        click.option(
            "--invalid",
            type=click.Choice(["error", "replace"]),
            default="error",
            help="Bytes that are no UTF-8: stop, or put U+FFFD there and count them.",
        ),
        click.option("--skip-bad", is_flag=True, show_default=False, help="Leave out broken jsonl lines."),
        click.option("--documents", type=COUNT, metavar="N", help="Read the first N documents only."),
        click.option("--bytes", "size", type=BYTES, metavar="SIZE", help="Read about so much text only."),
    ):
        function = option(function)
    return function


def tokenizer_options(function: Decorated) -> Decorated:
    """Add what says how a tokenizer is loaded."""
    for option in (
        click.option("--pattern", metavar="NAME|REGEX", help="How text is cut, where T is ranks that do not say it."),
        click.option("--special", "specials", multiple=True, metavar="TOKEN", help="A special token of such ranks."),
        click.option("--offline", is_flag=True, default=None, show_default=False, help="Stay off the network."),
    ):
        function = option(function)
    return function


def one_tokenizer(function: Decorated) -> Decorated:
    """Add --tokenizer and how it is loaded."""
    named = click.option("--tokenizer", "name", required=True, metavar="T", help="A name, file, folder or Hub id.")
    return named(tokenizer_options(function))


def _load(name: str, pattern: str | None, specials: tuple[str, ...], offline: bool | None) -> Tokenizer:
    from pylm.tokenizer import Tokenizer

    return Tokenizer.load(name, pattern=pattern, specials=specials or None, offline=offline)


@tokenizer.command(example="pylm tokenizer train books/ --vocab-size 32000 --out tok/")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The tokenizer's folder.")
@click.option("--vocab-size", type=COUNT, default=32000, metavar="N", help="Ids in all, special tokens among them.")
@click.option("--model", type=click.Choice(["bpe", "unigram", "sp-bpe"]), default="bpe", help="The kind of vocabulary.")
@click.option(
    "--pattern", metavar="NAME|REGEX", help="gpt2, cl100k, llama3, qwen2, o200k or a regex.  [default: cl100k]"
)
@click.option(
    "--special",
    "specials",
    multiple=True,
    metavar="TOKEN",
    help="A special token; the first ends documents. Repeatable.  [default: <|endoftext|>]",
)
@click.option("--chat", is_flag=True, help="Add the roles of ChatML and its template.")
@click.option("--min-frequency", type=COUNT, metavar="N", help="Merge no pair that is rarer.")
@click.option(
    "--max-token-length", type=COUNT, metavar="N", help="Longest token, in bytes (characters with sentencepiece)."
)
@click.option(
    "--character-coverage", type=float, metavar="SHARE", help="Characters with a piece of their own (unigram, sp-bpe)."
)
@click.option("--threads", type=COUNT, default=0, metavar="N", help="0 for as many as there are cores.")
@click.option("--memory", type=BYTES, metavar="SIZE", help="Most that counts and merges may take; counts go to disk.")
@click.option("--continue", "continue_from", metavar="T", help="A trained tokenizer whose merges come first.")
@click.option("--export", type=click.Choice(["tiktoken"]), help="Write ranks.tiktoken beside tokenizer.json.")
@text_options
@json_option
def train(out: Path, export: str | None, size: int | None, as_json: bool, **options: Any) -> None:
    """Train a tokenizer on text.

    SOURCE is a file, a folder, a glob or - for stdin: txt, jsonl, parquet, and .gz or .zst of them. DIR gets
    tokenizer.json and tokenizer_config.json, which transformers loads too; a tokenizer that was there is replaced.
    Interrupted while it merges, the same command goes on from there (bpe).
    """
    import time

    from pylm.cli.progress import Progress
    from pylm.tokenizer import folder
    from pylm.tokenizer.train import TrainOptions
    from pylm.tokenizer.train import train as trained_on

    options["specials"] = options["specials"] or None
    if export and options["model"] != "bpe":
        raise UsageError(f"--export tiktoken: ranks cannot hold a {options['model']} vocabulary", "leave it out")
    folder.refuse_to_replace(out)
    started = time.monotonic()
    state = out.parent / f".{out.name}.training"
    options |= {"bytes": size, "state": str(state) if options["model"] == "bpe" else None}
    with Progress("count", unit="bytes") as progress, _kept_if_interrupted(state):
        wanted = TrainOptions.checked(
            options.pop("sources"), options.pop("vocab_size"), {**options, "progress": progress}
        )
        result = trained_on(wanted)
    files = result.tokenizer.files()
    if export:
        files[folder.RANKS] = result.tokenizer.to_ranks()
    folder.write(out, files)
    _remove(state)
    facts = {
        "out": str(out),
        "vocab_size": result.tokenizer.vocab_size,
        "identity": result.tokenizer.identity,
        "specials": result.tokenizer.specials,
        **result.facts,
        "seconds": round(time.monotonic() - started, 3),
    }
    if as_json:
        print_json(facts)
        return
    from pylm.config.units import format_bytes

    click.echo(
        f"{out}: {facts['vocab_size']:,} ids from {format_bytes(facts['bytes'])} of text in {facts['seconds']:.1f} s"
    )
    if facts.get("resumed"):
        click.echo(f"gone on after {facts['resumed']:,} merges of an interrupted training")
    for source in facts.get("repeated", []):
        click.echo(f"{source} is named more than once, and taken once", err=True)
    if facts.get("replaced_bytes"):
        click.echo(f"{facts['replaced_bytes']:,} bytes were no UTF-8 and counted as U+FFFD", err=True)


@contextmanager
def _kept_if_interrupted(state: Path) -> Iterator[None]:
    """Keep the state of a training that was interrupted, and no other."""
    from pylm.errors import Interrupted

    existed = state.is_dir()
    try:
        yield
    except KeyboardInterrupt:
        if (state / "counts").is_file():
            raise Interrupted("interrupted", "the same command goes on from there") from None
        _remove(state)
        raise
    except Exception:
        if not existed:  # what an earlier run left is worth more than a mistyped option
            _remove(state)
        raise


def _remove(state: Path) -> None:
    """Remove a training's state, unless another training has it by now."""
    import shutil

    from pylm.tokenizer.unfinished import lockable

    if lockable(state / "lock"):
        shutil.rmtree(state, ignore_errors=True)


@tokenizer.command(example="pylm tokenizer info --tokenizer gpt2")
@one_tokenizer
@json_option
def info(name: str, as_json: bool, **how: Any) -> None:
    """Say what a tokenizer is."""
    loaded = _load(name, **how)
    facts: dict[str, Any] = {
        "kind": loaded.backend.kind,
        "vocab_size": loaded.vocab_size,
        "dtype": str(loaded.encode_array("").dtype),
        "pattern": loaded.pattern,
        "specials": loaded.specials,
        "eot": loaded.eot,
        "chat_template": loaded.chat_template is not None,
        "native": loaded.native,
        "identity": loaded.identity,
    }
    why = getattr(loaded.backend, "why", "")
    if as_json:
        print_json({**facts, "why_not_native": why or None})
        return
    specials = facts.pop("specials")
    facts["specials"] = ", ".join(f"{token} {token_id}" for token, token_id in specials.items()) or "none"
    facts["eot"] = "none" if loaded.eot is None else f"{loaded.eot_token} {loaded.eot}"
    facts["pattern"] = loaded.pattern or "none"
    facts["chat_template"] = "yes" if loaded.chat_template else "none"
    facts["native"] = "yes" if loaded.native else f"no, the tokenizers package runs it ({why})"
    for key, value in facts.items():
        click.echo(f"{key:<14} {f'{value:,}' if isinstance(value, int) else value}")


@tokenizer.command(example="pylm tokenizer encode --tokenizer gpt2 'Hello, world'")
@click.argument("text", required=False)
@one_tokenizer
@click.option(
    "--allow",
    type=click.Choice(["all", "none", "none-raise"]),
    default="none",
    help="Special tokens in the text: tokens, plain text, or an error.",
)
@click.option("--show", is_flag=True, help="One line a token: its id and its text.")
@json_option
def encode(text: str | None, name: str, allow: str, show: bool, as_json: bool, **how: Any) -> None:
    """Turn text into ids; without TEXT, stdin."""
    from pylm.tokenizer.train import standard_input

    loaded = _load(name, **how)
    data: str | bytes = standard_input().read() if text is None else text
    ids = loaded.encode(data, allow.replace("-", "_"))
    if as_json:
        print_json({"ids": ids, "tokens": [loaded.decode([token_id]) for token_id in ids]})
    elif show:
        for token_id in ids:
            click.echo(f"{token_id}\t{loaded.decode([token_id])!r}")
    else:
        click.echo(" ".join(map(str, ids)))


@tokenizer.command(example="pylm tokenizer decode --tokenizer gpt2 15496 11 995")
@click.argument("ids", nargs=-1, metavar="[ID…]")
@one_tokenizer
@json_option
def decode(ids: tuple[str, ...], name: str, as_json: bool, **how: Any) -> None:
    """Turn ids into text; without ID, those on stdin."""
    import re
    import sys

    from pylm.tokenizer.train import standard_input

    given = " ".join(ids) if ids else standard_input().read().decode("utf-8", "replace")
    words = [word for word in re.split(r"[\s,\[\]]+", given) if word]
    if wrong := next((word for word in words if not re.fullmatch(r"[0-9]+", word)), None):
        raise UsageError(f"{wrong!r} is no id", "ids are whole numbers, apart by spaces or commas")
    loaded = _load(name, **how)
    data = loaded.decode_bytes([int(word) for word in words])
    if as_json:
        print_json({"text": data.decode("utf-8", "replace")})
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    if sys.stdout.isatty():
        click.echo()


@tokenizer.command(
    example="pylm tokenizer compare --tokenizer gpt2 --tokenizer tok/ books/",
    short_help="Compare tokenizers on your text.",
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…")
@click.option("--tokenizer", "names", multiple=True, required=True, metavar="T", help="Repeat it for each to compare.")
@tokenizer_options
@click.option("--by", type=click.Choice(["language", "file"]), default="language", help="What tokens are counted by.")
@click.option("--examples", type=COUNT, default=8, metavar="N", help="Longest and never-used tokens to show.")
@click.option("--threads", type=COUNT, default=1, metavar="N", help="0 for as many as there are cores.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the bars as .svg, .png or .pdf.")
@text_options
@json_option
def compare(
    sources: tuple[str, ...],
    names: tuple[str, ...],
    by: str,
    examples: int,
    threads: int,
    plot: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare tokenizers on your text: tokens per byte, by language or file, longest and unused tokens, speed."""
    import sys

    from pylm.tokenizer import plot as drawing

    how = {key: options.pop(key) for key in ("pattern", "specials", "offline")}
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--tokenizer {repeated} is named twice", "name each tokenizer once")
    if plot is not None:
        drawing.check_picture(plot)
    loaded = {name: _load_among(name, **how) for name in names}
    made = _compared(loaded, sources, by, threads, options)
    if plot is not None:
        drawing.save_plot(made, plot)
    if as_json:
        print_json(made.as_json(examples))
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 110)
    for table in (*drawing.tables(made, examples), drawing.drawn(made)):
        console.print(table)
    if plot is not None:
        click.echo(f"drawn: {plot}")


def _load_among(name: str, pattern: str | None, specials: tuple[str, ...], offline: bool | None) -> Tokenizer:
    """Load one of several: --pattern and --special are for those that are ranks."""
    from pylm.tokenizer.load import says_its_pattern

    own = says_its_pattern(name)
    return _load(name, None if own else pattern, () if own else specials, offline)


def _compared(
    loaded: dict[str, Tokenizer], sources: tuple[str, ...], by: str, threads: int, options: dict[str, Any]
) -> Comparison:
    from pylm.cli.progress import Progress
    from pylm.tokenizer.compare import compare as tallied
    from pylm.tokenizer.sample import Sample, reader_of
    from pylm.tokenizer.train import spooled

    limits = options.pop("documents"), options.pop("size")
    with spooled(sources) as (stdin, is_jsonl), Progress("encode", unit="bytes") as progress:
        reader = reader_of(sources, stdin=stdin, stdin_jsonl=is_jsonl, **options)
        sample = Sample(reader, *limits)
        total = min(reader.bytes, limits[1] or reader.bytes)
        made = tallied(loaded, sample.named(), by=by, threads=threads, tell=lambda done: progress(done, total))
    if sample.replaced:
        click.echo(f"{sample.replaced:,} bytes were no UTF-8 and counted as U+FFFD", err=True)
    if not made.tallies:
        raise DataError("there is nothing to compare", None)
    return made
