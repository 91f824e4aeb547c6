"""`pylm runs ls`: the runs of a folder."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json


@command("ls", example="pylm runs ls\npylm runs ls experiments --json")
@click.argument("folder", default="runs", metavar="[DIR]")
@json_option
def ls(folder: str, as_json: bool) -> None:
    """List the runs of a folder and where each stands, the one that was written to last at the end."""
    from pathlib import Path

    from pylm.errors import UsageError
    from pylm.runs.listing import list_runs

    if not Path(folder).is_dir():
        raise UsageError(f"{folder}: no such folder", "pylm train writes its runs to runs/")
    found = list_runs(Path(folder))
    if as_json:
        print_json({"runs": [run.as_dict() for run in found]})
        return
    if not found:
        raise UsageError(f"there is no run in {folder}", "pylm train makes one: pylm train my.txt")
    click.echo("\n".join(_lines(found)))


def _lines(found: list) -> list[str]:  # type: ignore[type-arg]
    """Return the table of the runs."""
    import time

    from pylm.cli.frame.table import table
    from pylm.config.units import format_count, format_duration

    now = time.time()

    def shown(value: float | None, form: str = ".4f") -> str:
        return "-" if value is None else format(value, form)

    rows = [("run", "state", "step", "tokens", "loss", "val loss", "took", "last written")]
    for run in found:
        rows.append((
            run.path.name, run.state, shown(run.step, ",d"), "-" if run.tokens is None else format_count(run.tokens),
            shown(run.loss), shown(run.val_loss), "-" if run.seconds is None else format_duration(run.seconds),
            "-" if run.written is None else f"{format_duration(max(now - run.written, 0))} ago",
        ))  # fmt: skip
    return list(table(rows, to_the_left=(0, 1)))
