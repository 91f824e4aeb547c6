"""`pylm data stories`: text for a trial, written here."""

from __future__ import annotations

from pathlib import Path

import click

from pylm.cli.frame.command import command
from pylm.cli.frame.types import BYTES
from pylm.cli.frame.writing import room_for
from pylm.errors import UsageError

EXAMPLE = """pylm data stories --out stories.txt --size 8M
pylm data stories --out web.txt --size 8M --strangers 0.5 --seed 2"""


@command("stories", example=EXAMPLE)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@click.option("--size", type=BYTES, default="8M", help="Text to write.")
@click.option("--seed", type=int, default=1, help="Of all that is drawn.")
@click.option("--strangers", type=click.FloatRange(0, 1), default=0.0, metavar="SHARE", help="Sentences of others.")
def stories_(out: Path, size: int, seed: int, strangers: float) -> None:
    """Write small stories, invented here: text for trials that needs no network, the same for the same seed.

    Some thirty people keep their names, pronouns and things to the end. With --strangers, so many of the sentences come
    from other stories: text whose grammar is right and whose sense is not, as a worse kind of text to learn from.
    """
    from pylm.config.units import format_bytes
    from pylm.data.stories import stories

    if out.exists():
        raise UsageError(f"{out} is there already", "name another, or remove it")
    with room_for(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("w", encoding="utf-8") as file:
            file.writelines(stories(size, seed, strangers))
    click.echo(f"{out}: {format_bytes(out.stat().st_size)} of small stories")
