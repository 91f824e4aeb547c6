"""`pylm data mix`: several sources as one folder of shards, by weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_sources
from pylm.cli.frame.data_section import config_option, sources_of, taken_from
from pylm.cli.frame.printing import print_json, say
from pylm.cli.frame.types import COUNT, SHARE

if TYPE_CHECKING:
    from pylm.data.mixing.call import Mixture

EXAMPLE = """pylm data mix data/wiki:0.7 data/web:0.3 --tokens 1B --out data/mixed
pylm data mix data/en data/de data/ja --temperature 0.3 --tokens 1B --out data/mixed"""
KEYS = {
    "tokens": "mix_tokens",
    "temperature": "mix_temperature",
    "tokenizer": "tokenizer",
    "val": "val_share",
}


@command("mix", example=EXAMPLE)
@click.argument("sources", nargs=-1, metavar="SOURCE[:WEIGHT]…", shell_complete=complete_sources)
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder to write.")
@click.option("--tokens", type=COUNT, help="Tokens to train on.  [default: as many as there are without repeats]")
@click.option(
    "--temperature", type=float, metavar="T", help="Without weights: shares as sizes to this power.  [default: 1]"
)
@click.option(
    "--seed", type=int, help="Take the documents of each pass in an order of this seed.  [default: as they are]"
)
@click.option("--val", type=SHARE, help="Share kept for validation of a source that keeps none.  [default: 0.01]")
@click.option("--tokenizer", metavar="T", help="Makes tokens of texts.  [default: that of the shards beside them]")
@click.option("--shard-tokens", type=COUNT, default="100M", help="Tokens of a shard, about.")
@config_option("Take data.sources, if no SOURCE is given, and what data says of mixing.")
@json_option
def mix_(sources: tuple[str, ...], config: str | None, as_json: bool, **options: Any) -> None:
    """Write shards of several sources whose shares of the tokens are as their weights, at every point.

    SOURCE is a folder of shards, or text as pylm tokenize takes it. Documents stay whole; a source that has no more
    begins anew. What is for validation is chosen by what a document holds, and no document like it is trained on.
    """
    from pylm.cli.frame.progress import Progress
    from pylm.data.mixing.call import mix

    named = sources_of(sources, config, "nothing to mix was named", "such as data/wiki:0.7 data/web:0.3")
    given = taken_from(config, options, KEYS)
    if isinstance(named, dict) and given["temperature"] is not None:
        named = list(named)  # the sizes decide in place of the weights
    given["val"] = 0.01 if given["val"] is None else given["val"]
    with Progress("mix", unit="tokens", quiet=as_json) as progress:
        mixed = mix(named, progress=progress, say=say if as_json else progress.say, **given)
    if as_json:
        print_json({**vars(mixed), "parts": [vars(part) for part in mixed.parts]})
    else:
        click.echo("\n".join(_lines(mixed)))


def _lines(mixed: Mixture) -> list[str]:
    from pylm.cli.frame.table import table
    from pylm.config.units import counted

    rows = [("source", "tokens", "weight", "epochs", "documents", "taken")]
    rows += [
        (
            part.source,
            f"{part.tokens:,}",
            f"{part.weight:.3f}",
            f"{part.epochs:.2f}",
            f"{part.documents:,}",
            f"{part.taken:,}",
        )
        for part in mixed.parts
    ]
    lines = list(table(rows))
    if mixed.copies:
        lines.append(f"left out, as validation holds the same: {counted(mixed.copies, 'document')}")
    train, val = (counted(mixed.splits[name]["tokens"], "token") for name in ("train", "val"))
    where = "are here already:" if mixed.was_here else "→"
    return [*lines, f"{train} for training and {val} for validation {where} {mixed.folder}"]
