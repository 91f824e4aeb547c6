"""`pylm config import`: an older tool's configuration as one of pylm."""

from __future__ import annotations

from typing import Any

import click

from pylm.cli.frame.command import command
from pylm.cli.frame.printing import say


@command("import", example="pylm config import configs/model_config.yaml --out mine.yaml")
@click.argument("old", type=click.Path(dir_okay=False))
@click.option("--from", "tool", metavar="TOOL", help="The tool it was written for; told from its keys where left out.")
@click.option("--profile", metavar="NAME", help="Which configuration, where the file holds several.")
@click.option("--out", type=click.Path(dir_okay=False), help="Write it there instead of printing it.")
def import_(old: str, tool: str | None, profile: str | None, out: str | None) -> None:
    """Rewrite a configuration of an older tool as pylm's.

    Reads the YAML and JSON files of nue, the MLX transformer, buildingLLMFromScratch, microgpt and nash-llm (--from
    nue, mlx-transformer, building-llm, microgpt, nash-llm). What has no counterpart is said by name.
    """
    from pathlib import Path

    from pylm.config.importing import TOOLS, import_file
    from pylm.errors import UsageError, did_you_mean

    if tool is not None and tool not in TOOLS:
        raise UsageError(f"no such tool: {tool}", did_you_mean(tool, TOOLS) or f"there are {', '.join(TOOLS)}")
    imported = import_file(Path(old), tool, profile)
    text = imported.to_yaml()
    if out is None:
        click.echo(text, nl=False)
    else:
        _write_new(Path(out), text)
    for key, why in imported.dropped:
        say(f"not carried over: {key}: {why}")
    if out is not None:
        click.echo(f"{out} written: {len(imported.settings)} keys, {len(imported.dropped)} left behind", err=True)


def _write_new(path: Any, text: str) -> None:
    from pylm.errors import UsageError

    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already", "name another, or move it away") from None
