"""`pylm data split`: token shards divided into training and validation."""

from __future__ import annotations

from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.data_section import config_option, data_of, taken_from
from pylm.cli.frame.printing import print_json, say
from pylm.cli.frame.types import COUNT, SHARE

EXAMPLE = """pylm data split data/corpus --val 0.05 --out data/divided
pylm data split train.bin --eot 50256 --by tail --out data/divided"""


@command("split", example=EXAMPLE)
@click.argument("source", required=False, metavar="DIR|FILE.bin")
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder to write.")
@click.option("--val", type=SHARE, help="Share of the documents for validation.  [default: 0.05]")
@click.option(
    "--by", type=click.Choice(["hash", "tail"]), help="By what a document holds, or the last ones.  [default: hash]"
)
@click.option(
    "--eot", type=int, metavar="ID", help="Stands between documents.  [default: as index, format or tokenizer say]"
)
@click.option("--shard-tokens", type=COUNT, default="100M", help="Tokens of a shard, about.")
@config_option("Take data.path, if nothing is named, data.val_share and data.split_by.")
@json_option
def split(source: str | None, config: str | None, as_json: bool, **options: Any) -> None:
    """Divide token shards at documents: those of pylm tokenize, llm.c's, nanoGPT's, numpy's and Megatron's.

    By hash, copies of a document go the same way, whatever their order; tail takes the last documents. Every token goes
    to one of the two. What others wrote stays as they store it, with an index of its documents beside each file.
    """
    from pylm.cli.frame.progress import Progress
    from pylm.config.units import counted
    from pylm.data.mixing.dividing import divide
    from pylm.errors import UsageError

    given = taken_from(config, options, {"val": "val_share", "by": "split_by"})
    given = {**given, "val": 0.05 if given["val"] is None else given["val"], "by": given["by"] or "hash"}
    source = source or (data_of(config).path if config is not None else None)
    if source is None:
        raise UsageError("no shards were named", "pylm data split DIR --out DIR2")
    with Progress("split", unit="tokens", quiet=as_json) as progress:
        made = divide(source, progress=progress, say=say if as_json else progress.say, **given)
    if as_json:
        print_json(vars(made))
        return
    train, val = (
        f"{counted(made.documents[name], 'document')} and {counted(made.tokens[name], 'token')}"
        for name in ("train", "val")
    )
    where = "are here already:" if made.was_here else "→"
    click.echo(f"{train} for training, {val} for validation {where} {made.folder}")
