"""`pylm data rethreshold`: other thresholds for text that was cleaned, in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json
from pylm.cli.frame.types import BYTES, COUNT

if TYPE_CHECKING:
    from pylm.data.cleaning.rethreshold import Rethresholded

EXAMPLE = """pylm data rethreshold data/clean gopher.word_count=100
pylm data rethreshold data/clean fineweb.char_dup_ratio=off gopher.stop_words=1 --out data/clean2"""


@command("rethreshold", example=EXAMPLE)
@click.argument("folder", metavar="DIR")
@click.argument("settings", nargs=-1, required=True, metavar="KEY=VALUE…")
@click.option("--out", type=click.Path(file_okay=False), help="Folder for the texts as they are divided now.")
@click.option("--memory", type=BYTES, default="2G", help="What the search for duplicates may use, about.")
@click.option("--threads", type=COUNT, help="Threads.  [default: one for each core]")
@click.option("--force", is_flag=True, show_default=False, help="Replace what another run wrote to the folder.")
@json_option
def rethreshold_(
    folder: str,
    settings: tuple[str, ...],
    out: str | None,
    threads: int | None,
    memory: int,
    force: bool,
    as_json: bool,
) -> None:
    """Decide anew which documents stay, by other thresholds, without reading a text.

    DIR is what pylm data clean wrote; its tags hold every measure. KEY=off turns a rule off. With --out the texts
    follow: what was removed comes back where DIR was cleaned with --keep-removed.
    """
    from pylm.data.cleaning.rethreshold import rethreshold

    done = rethreshold(folder, settings, out, threads=threads or 0, memory=memory, force=force)
    if as_json:
        told = {"folder": folder, "out": out, "documents": done.documents, "before": done.before, "after": done.after}
        print_json(told)
        return
    for line in _table(done):
        click.echo(line)
    if out is not None:
        click.echo(f"{done.after.get('kept', 0):,} of {done.documents:,} documents → {out}")


def _table(done: Rethresholded) -> list[str]:
    """Return documents by reason, then and now: what is kept first, then what removes most now."""
    names = [name for name in {**done.before, **done.after} if name != "kept"]
    names.sort(key=lambda name: (-done.after.get(name, 0), name))
    width = max(len(name) for name in ["documents", *names])
    lines = [f"{'':<{width}} {'before':>12} {'after':>12}"]
    for name in ["kept", *names]:
        before, after = done.before.get(name, 0), done.after.get(name, 0)
        change = f"  {after - before:+,}" if after != before else ""
        lines.append(f"{name:<{width}} {before:>12,} {after:>12,}{change}")
    return lines
