"""`pylm data report`: what cleaning removed, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json


@command("report", example="pylm data report data/clean\npylm data report data/clean --out clean.html")
@click.argument("folder", metavar="DIR")
@click.option("--out", type=click.Path(dir_okay=False), metavar="F.html", help="The page.  [default: DIR/report.html]")
@json_option
def report_(folder: str, out: str | None, as_json: bool) -> None:
    """Show what cleaning removed and why, and write the page that shows all of it.

    The page is one file that opens without a network, made of DIR/report.json: stages, reasons by source and language,
    examples, where thresholds lie, clusters of duplicates, test items that were found.
    """
    from pylm.data.cleaning import report

    content = report.read(folder)
    page = report.write(folder, out)
    if as_json:
        print_json(content)
        return
    click.echo("\n".join(_lines(content)))
    click.echo(f"all of it: {page}")


def _lines(content: dict[str, Any]) -> Iterator[str]:
    from pylm.config.units import counted, format_bytes
    from pylm.data.cleaning.report.figures import count, percent, rule

    kept = content["kept"]
    yield (
        f"{counted(content['documents'], 'document')}, {format_bytes(content['bytes'])}: "
        f"{count(kept['documents'])} kept "
        f"({percent(kept['documents'], content['documents'])}), {format_bytes(kept['bytes'])}"
    )
    stages = [
        (one["stage"], count(one["documents"]), count(gone := one["removed"]["documents"]),
         percent(gone, one["documents"]))
        for one in content["stages"]
    ]  # fmt: skip
    yield from _table(("stage", "came in", "removed", "share"), stages)
    reasons = sorted(content["reasons"], key=lambda one: -one["documents"])
    yield from _table(
        ("reason", "documents", "share", "removes"),
        [
            (one["reason"], count(one["documents"]), percent(one["documents"], content["documents"]), rule(one))
            for one in reasons
            if one["documents"]
        ],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield an empty line and those of a table, its first column and `removes` to the left; nothing of no rows."""
    from pylm.cli.frame.table import table
    from pylm.data.cleaning.report.figures import shown

    if rows:
        yield ""
        lines = [head, *([str(shown(cell)) for cell in row] for row in rows)]
        yield from table(lines, [number for number, name in enumerate(head) if name in ("stage", "reason", "removes")])
