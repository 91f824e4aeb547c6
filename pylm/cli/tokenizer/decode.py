"""`pylm tokenizer decode`: ids to text."""

from __future__ import annotations

from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json
from pylm.cli.tokenizer.options import load, one_tokenizer
from pylm.errors import UsageError


@command(example="pylm tokenizer decode --tokenizer gpt2 15496 11 995")
@click.argument("ids", nargs=-1, metavar="[ID…]")
@one_tokenizer
@json_option
def decode(ids: tuple[str, ...], name: str, as_json: bool, **how: Any) -> None:
    """Turn ids into text; without ID, those on stdin."""
    import re
    import sys

    from pylm.tokenizer.standard_input import standard_input

    given = " ".join(ids) if ids else standard_input().read().decode("utf-8", "replace")
    words = [word for word in re.split(r"[\s,\[\]]+", given) if word]
    if wrong := next((word for word in words if not re.fullmatch(r"[0-9]+", word)), None):
        raise UsageError(f"{wrong!r} is no id", "ids are whole numbers, apart by spaces or commas")
    loaded = load(name, **how)
    data = loaded.decode_bytes([int(word) for word in words])
    if as_json:
        print_json({"text": data.decode("utf-8", "replace")})
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    if sys.stdout.isatty():
        click.echo()
