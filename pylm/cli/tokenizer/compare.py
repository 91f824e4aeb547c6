"""`pylm tokenizer compare`: several tokenizers on one text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json
from pylm.cli.frame.types import COUNT
from pylm.cli.tokenizer.options import load, text_options, tokenizer_options
from pylm.errors import DataError, UsageError

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer
    from pylm.tokenizer.compare import Comparison


@command(
    example="pylm tokenizer compare --tokenizer gpt2 --tokenizer tok/ books/",
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
    comparison = _compared(loaded, sources, by, threads, options)
    if plot is not None:
        drawing.save_plot(comparison, plot)
    if as_json:
        print_json(comparison.as_json(examples))
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 110)
    for table in (*drawing.tables(comparison, examples), drawing.drawn(comparison)):
        console.print(table)
    if plot is not None:
        click.echo(f"drawn: {plot}")


def _load_among(name: str, pattern: str | None, specials: tuple[str, ...], offline: bool | None) -> Tokenizer:
    """Load one of several: --pattern and --special are for those that are ranks."""
    from pylm.tokenizer.load import says_its_pattern

    own = says_its_pattern(name)
    return load(name, None if own else pattern, () if own else specials, offline)


def _compared(
    loaded: dict[str, Tokenizer], sources: tuple[str, ...], by: str, threads: int, options: dict[str, Any]
) -> Comparison:
    from pylm.cli.frame.progress import Progress
    from pylm.data.sources import Sources, opened
    from pylm.data.streaming.steps import Limit
    from pylm.tokenizer.compare import compare as tallied
    from pylm.tokenizer.sample import Sample, reader_of

    limits = {"documents": options.pop("documents"), "bytes": options.pop("size")}
    given = {name: value for name, value in options.items() if value not in (None, "text")}
    most = [Limit(**{name: value}) for name, value in limits.items() if value is not None]
    with opened(Sources.of(sources, **given), None, most) as text, Progress("encode", unit="bytes") as progress:
        total = min(text.look()[0], limits["bytes"] or math.inf)
        stdin = None if text.stdin is None else str(text.stdin)
        reader = reader_of(text.files, stdin=stdin, stdin_jsonl=text.is_jsonl, **options)
        sample = Sample(reader, limits["documents"], limits["bytes"])
        comparison = tallied(loaded, sample.named(), by=by, threads=threads, tell=lambda done: progress(done, total))
    if sample.replaced:
        click.echo(f"{sample.replaced:,} bytes were no UTF-8 and counted as U+FFFD", err=True)
    if not comparison.tallies:
        raise DataError("there is nothing to compare", None)
    return comparison
