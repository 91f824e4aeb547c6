"""`pylm data verify`: whether shards are as they were written."""

from __future__ import annotations

from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json


@command("verify", example="pylm data verify data/corpus")
@click.argument("folder", metavar="DIR")
@json_option
def verify(folder: str, as_json: bool) -> None:
    """Check sizes, hashes, ids and indexes, every byte; exit 3 where something is wrong."""
    from pylm.cli.frame.progress import Progress
    from pylm.data.shards import verify as check
    from pylm.errors import CheckError

    with Progress("verify", unit="bytes", quiet=as_json) as progress:
        report = check(folder, progress)
    problems: list[dict[str, Any]] = report["problems"]
    if as_json:
        print_json(report)
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
        click.echo(f"{folder} is sound: {report['files']} files, {report['bytes']:,} bytes")
        if not report["sealed"]:
            click.echo(
                "it was written by an earlier pylm, without hashes of its manifest, job.json and tokenizer files"
            )
