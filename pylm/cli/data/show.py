"""`pylm data show`: a document, its tokens beside their text."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json


@command(
    "show",
    example="pylm data show data/corpus --document 17",
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
