"""`pylm data`: what is in token shards, and whether they are sound."""

from __future__ import annotations

from typing import Any

import click

from pylm.cli.frame import group, json_option, print_json


@group()
def data() -> None:
    """Look into token shards and check them."""


@data.command(
    "stats", example="pylm data stats data/corpus", short_help="Show how much there is and which tokens it holds."
)
@click.argument("folder", metavar="DIR")
@json_option
def stats(folder: str, as_json: bool) -> None:
    """Show how much there is, how long documents are and which tokens they use."""
    from pylm.data.shards import statistics

    found = statistics(folder)
    if as_json:
        print_json(found)
        return
    click.echo(
        f"{folder}: ids as {found['dtype']}, vocabulary {found['vocab_size']:,}, tokenizer {found['tokenizer'][:12]}"
    )
    for name, split in found["splits"].items():
        if not split["tokens"]:
            click.echo(f"{name}: nothing")
            continue
        click.echo(
            f"{name}: {split['tokens']:,} tokens in {split['shards']} shards, {split['documents']:,} documents, "
            f"{split['bytes_per_token']:.2f} bytes a token"
        )
        lengths = split["lengths"]
        click.echo(
            f"  tokens of a document: {lengths['shortest']:,} to {lengths['longest']:,}, "
            f"half below {lengths['median']:,}, nine tenths below {lengths['ninetieth']:,}"
        )
        click.echo(f"  {split['used']:,} of the vocabulary are used ({100 * split['used'] / found['vocab_size']:.1f}%)")
        for token in split["commonest"]:
            click.echo(f"  {100 * token['share']:6.2f}%  {token['id']:>7}  {token['text']}")


@data.command(
    "show",
    example="pylm data show data/corpus --document 17",
    short_help="Show a document: its tokens beside their text.",
)
@click.argument("folder", metavar="DIR")
@click.option("--document", type=int, default=0, help="Which document of the split, from 0.")
@click.option("--split", type=click.Choice(["train", "val"]), default="train", help="Which split.")
@click.option("--max-tokens", type=int, default=200, help="Tokens to show at most.")
@json_option
def show(folder: str, document: int, split: str, max_tokens: int, as_json: bool) -> None:
    """Show a document: its tokens side by side with their text."""
    from pylm.data.shards import document as read_document
    from pylm.errors import UsageError

    if document < 0 or max_tokens < 1:
        raise UsageError("documents count from 0, and one token is the least to show", "give --document 0 or more")
    found = read_document(folder, split, document, max_tokens)
    if as_json:
        print_json(found)
        return
    click.echo(f"document {document} of {split}: {found['file']}, token {found['start']:,}, {found['tokens']:,} tokens")
    for token in found["shown"]:
        click.echo(f"{token['id']:>7}  {token['text']}")
    if (more := found["tokens"] - len(found["shown"])) > 0:
        click.echo(f"… and {more:,} more (--max-tokens)")


@data.command(
    "verify", example="pylm data verify data/corpus", short_help="Check every byte; exit 3 where something is wrong."
)
@click.argument("folder", metavar="DIR")
@json_option
def verify(folder: str, as_json: bool) -> None:
    """Check sizes, hashes, ids and indexes, every byte; exit 3 where something is wrong."""
    from pylm.cli.progress import Progress
    from pylm.data.shards import verify as check
    from pylm.errors import CheckError

    with Progress("verify", unit="bytes", quiet=as_json) as progress:
        found = check(folder, progress)
    problems: list[dict[str, Any]] = found["problems"]
    if as_json:
        print_json(found)
    else:
        for problem in problems[1:]:
            click.echo(f"{folder}/{problem['file']}, byte {problem['offset']:,}: {problem['what']}")
    if problems:
        first = problems[0]
        raise CheckError(
            f"{folder}/{first['file']}, byte {first['offset']:,}: {first['what']}",
            "run the same pylm tokenize command with --force, or copy the folder again",
        )
    if not as_json:
        click.echo(f"{folder} is sound: {found['files']} files, {found['bytes']:,} bytes")
        if not found["sealed"]:
            click.echo(
                "it was written by an earlier pylm, without hashes of its manifest, job.json and tokenizer files"
            )
