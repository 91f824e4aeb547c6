"""`pylm data get`: datasets by name, verified to the byte."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_datasets
from pylm.cli.frame.data_section import config_option, sources_of
from pylm.cli.frame.printing import print_json, say

if TYPE_CHECKING:
    from pylm.cli.frame.progress import Progress
    from pylm.data.getting.call import Got

EXAMPLE = """pylm data get tinystories
pylm data get fineweb --limit 100Mtok --out data/fineweb
pylm data get wikipedia:ja_100M openwebtext_100M"""


@command("get", example=EXAMPLE)
@click.argument("names", nargs=-1, metavar="NAME…", shell_complete=complete_datasets)
@click.option("--out", type=click.Path(file_okay=False), help="Folder to write; of several, one in it for each.")
@click.option("--limit", metavar="N", help="Stop at the document that reaches it: 10000docs, 1GB or 100Mtok.")
@click.option("--revision", metavar="REV", help="Commit, branch or tag of its repository.  [default: the catalogue's]")
@click.option("--offline", is_flag=True, show_default=False, help="Take what is in the caches; ask no network.")
@click.option("--store", is_flag=True, show_default=False, help="Keep the files that a slice or --limit is cut from.")
@click.option("--xet", is_flag=True, show_default=False, help="Fetch with huggingface_hub and hf_xet; then verify.")
@click.option("--allow-private", is_flag=True, show_default=False, help="Reach addresses of one's own network too.")
@click.option("--yes", is_flag=True, show_default=False, help="Do not ask before more than a gigabyte.")
@config_option("Take data.sources, if no NAME is given.")
@json_option
def get_(names: tuple[str, ...], out: str | None, config: str | None, as_json: bool, **options: Any) -> None:
    """Fetch datasets by name, verified to the byte; pylm data list names them.

    NAME is of the catalogue, hub:ORG/NAME[@REV][:CONFIG[:SPLIT[:COLUMN]]] or a URL. All of a dataset is its files as
    they were published. NAME_10M, NAME_1B, or any --limit, is the beginning of its text, in text_00000.jsonl.
    Interrupt it at any moment and run the same command again: it goes on, and ends with the same bytes.
    """
    from pylm.cli.frame.progress import Progress
    from pylm.data.catalogue import public_name
    from pylm.data.getting.call import get

    wanted = list(sources_of(names, config, "no dataset was named", "pylm data list names those that are known"))
    done = []
    for name in wanted:
        own = public_name(name).replace(":", "-").replace("/", "--")
        folder = out if out is None or len(wanted) == 1 else str(Path(out, own))
        with Progress("get", unit="bytes", quiet=as_json) as progress:
            telling = say if as_json else progress.say
            got = get(name, folder, ask=_asking(progress), progress=progress, say=telling, **_given(options))
        done.append(got)
        if not as_json:
            click.echo(_closing(got))
    if as_json:
        print_json(
            {"datasets": [{"folder": str(got.folder), "was_here": got.was_here, **got.manifest} for got in done]}
        )


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "offline": options["offline"] or None}


def _asking(progress: Progress) -> Callable[[str], bool] | None:
    """Return what asks whoever sits at the terminal, with the bar out of the way; None where nobody does."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(text: str) -> bool:
        progress.__exit__(None, None, None)
        try:
            return click.confirm(text, err=True)
        finally:
            progress.__enter__()

    return ask


def _closing(got: Got) -> str:
    from pylm.config.units import counted, format_bytes

    files = f"{counted(len(got.files), 'file')}, {format_bytes(got.bytes)}"
    if cut := got.manifest.get("slice"):
        tokens = f", {counted(cut['reached'], 'token')}" if cut["unit"] == "tokens" else ""
        files = f"{counted(cut['documents'], 'document')}{tokens}, {format_bytes(cut['bytes'])} of text"
    return f"{got.name}: {files} {'are here already:' if got.was_here else '→'} {got.folder}"
