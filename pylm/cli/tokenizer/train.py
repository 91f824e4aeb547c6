"""`pylm tokenizer train`: a tokenizer of one's own text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_sources
from pylm.cli.frame.printing import print_json
from pylm.cli.frame.types import BYTES, COUNT
from pylm.cli.tokenizer.options import text_options
from pylm.errors import UsageError


@command(example="pylm tokenizer train books/ --vocab-size 32000 --out tok/")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…", shell_complete=complete_sources)
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
@click.option("--allow-private", is_flag=True, show_default=False, help="Read addresses of your own network too.")
@text_options
@json_option
def train(out: Path, export: str | None, size: int | None, as_json: bool, **options: Any) -> None:
    """Train a tokenizer on text.

    SOURCE is a file, a folder, a glob, - for stdin, a dataset's name, hub:ORG/NAME or a URL, as pylm tokenize takes it.
    DIR gets tokenizer.json and tokenizer_config.json, which transformers loads too; a tokenizer that was there is
    replaced. Interrupted while it merges, the same command goes on from there (bpe).
    """
    import time

    from pylm.cli.frame.progress import Progress
    from pylm.tokenizer.into_folder import train_into

    options["specials"] = options["specials"] or None
    if export and options["model"] != "bpe":
        raise UsageError(f"--export tiktoken: ranks cannot hold a {options['model']} vocabulary", "leave it out")
    started = time.monotonic()
    sources, vocab_size = options.pop("sources"), options.pop("vocab_size")
    with Progress("count", unit="bytes") as progress:
        options |= {"bytes": size, "progress": progress}
        trained, training_facts = train_into(out, sources, vocab_size, options, with_ranks=bool(export))
    facts = {
        "out": str(out),
        "vocab_size": trained.vocab_size,
        "identity": trained.identity,
        "specials": trained.specials,
        **training_facts,
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
