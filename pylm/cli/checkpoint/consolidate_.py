"""`pylm checkpoint consolidate`: the shards that ranks wrote become the usual folder."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.printing import print_json


@command("consolidate", example="pylm checkpoint consolidate runs/x/step_500")
@click.argument("checkpoint", metavar="CHECKPOINT", shell_complete=complete_runs)
@json_option
def consolidate_(checkpoint: str, as_json: bool) -> None:
    """Join the shards of a checkpoint to the folder that every command reads; one that is whole stays as it is."""
    from pylm.checkpoint import consolidate, find

    folder = find(checkpoint)
    joined = consolidate(folder)
    if as_json:
        print_json({"path": str(folder), "joined": joined})
    else:
        click.echo(f"{folder} is whole" if joined else f"{folder} was whole already")
