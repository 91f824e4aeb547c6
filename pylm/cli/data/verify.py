"""`pylm data verify`: whether shards, or files that were got or cleaned, are as they were written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json

if TYPE_CHECKING:
    from pylm.cli.frame.progress import Progress


@command("verify", example="pylm data verify data/corpus")
@click.argument("folder", metavar="DIR")
@json_option
def verify(folder: str, as_json: bool) -> None:
    """Check sizes and hashes, of shards their ids and indexes too, every byte; exit 3 where something is wrong.

    DIR holds shards, or what pylm data get or pylm data clean wrote.
    """
    from pylm.cli.frame.progress import Progress
    from pylm.errors import CheckError

    with Progress("verify", unit="bytes", quiet=as_json) as progress:
        report, remedy = _checked(Path(folder), progress)
    problems: list[dict[str, Any]] = report["problems"]
    if as_json:
        print_json(report)
    else:
        for problem in problems[1:]:
            click.echo(_line(folder, problem))
    if problems:
        raise CheckError(_line(folder, problems[0]), remedy)
    if not as_json:
        click.echo(f"{folder} is sound: {report['files']} files, {report['bytes']:,} bytes")
        if not report.get("sealed", True):
            click.echo(
                "it was written by an earlier pylm, without hashes of its manifest, job.json and tokenizer files"
            )


def _checked(folder: Path, progress: Progress) -> tuple[dict[str, Any], str]:
    """Return what is wrong of a folder, and what mends it."""
    from pylm.data import shards
    from pylm.data.cleaning.folder import is_begun, manifest_of
    from pylm.data.getting import manifest
    from pylm.data.verifying import verify_files
    from pylm.errors import DataError

    if (got := manifest.read(folder)) is not None:
        remedy = "remove the file and run the same pylm data get command again, which fetches what is not there"
        return verify_files(folder, got["files"], progress), remedy
    if (cleaned := manifest_of(folder)) is not None:
        return verify_files(folder, cleaned["files"], progress), "run the same pylm data clean command with --force"
    if is_begun(folder):
        hint = "run the same pylm data clean command again; it does what is missing"
        raise DataError(f"{folder} is not finished: it has no manifest.json", hint)
    remedy = "run the same pylm tokenize command with --force, or copy the folder again"
    return shards.verify(folder, progress), remedy


def _line(folder: str, problem: dict[str, Any]) -> str:
    place = f", byte {problem['offset']:,}" if "offset" in problem else ""
    return f"{folder}/{problem['file']}{place}: {problem['what']}"
