"""`pylm tokenizer encode`: text to ids."""

from __future__ import annotations

from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json
from pylm.cli.tokenizer.options import load, one_tokenizer


@command(example="pylm tokenizer encode --tokenizer gpt2 'Hello, world'")
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
    from pylm.tokenizer.standard_input import standard_input

    loaded = load(name, **how)
    data: str | bytes = standard_input().read() if text is None else text
    ids = loaded.encode(data, allow.replace("-", "_"))
    if as_json:
        print_json({"ids": ids, "tokens": [loaded.decode([token_id]) for token_id in ids]})
    elif show:
        for token_id in ids:
            click.echo(f"{token_id}\t{loaded.decode([token_id])!r}")
    else:
        click.echo(" ".join(map(str, ids)))
