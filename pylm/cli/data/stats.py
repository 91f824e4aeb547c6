"""`pylm data stats`: how much there is, and which tokens it holds."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json


@command("stats", example="pylm data stats data/corpus")
@click.argument("folder", metavar="DIR")
@json_option
def stats(folder: str, as_json: bool) -> None:
    """Show how much there is, how long documents are and which tokens they use."""
    from pylm.data.shards import statistics

    facts = statistics(folder)
    if as_json:
        print_json(facts)
        return
    click.echo(
        f"{folder}: ids as {facts['dtype']}, vocabulary {facts['vocab_size']:,}, tokenizer {facts['tokenizer'][:12]}"
    )
    for name, split in facts["splits"].items():
        if not split["tokens"]:
            click.echo(f"{name}: nothing")
            continue
        click.echo(
            f"{name}: {split['tokens']:,} tokens in {split['shards']} shards, {split['documents']:,} documents, "
            f"{split['bytes_per_token']:.2f} bytes a token"
        )
        if "counted" in split:
            click.echo(f"  {split['counted']:,} tokens are learned, the others are what comes before them")
        lengths = split["lengths"]
        click.echo(
            f"  tokens of a document: {lengths['shortest']:,} to {lengths['longest']:,}, "
            f"half below {lengths['median']:,}, nine tenths below {lengths['ninetieth']:,}"
        )
        click.echo(f"  {split['used']:,} of the vocabulary are used ({100 * split['used'] / facts['vocab_size']:.1f}%)")
        for token in split["commonest"]:
            click.echo(f"  {100 * token['share']:6.2f}%  {token['id']:>7}  {token['text']}")
