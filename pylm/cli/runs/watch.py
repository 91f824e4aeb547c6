"""`pylm watch`: runs while they go on."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command
from pylm.cli.frame.completion import complete_runs


@command("watch", example="pylm watch\npylm watch runs/a runs/b")
@click.argument("runs", nargs=-1, metavar="[RUN…]", shell_complete=complete_runs)
def watch(runs: tuple[str, ...]) -> None:
    """Watch runs, the newest where none is named: curves, speed, time by phase, the last sample, incidents.

    Keys: l logarithmic values, x the next axis, / runs by a part of their name, tab the next run, q leaves. It reads
    the runs' folders alone, here or over ssh. Where there is no terminal it writes lines, until no run goes on.
    """
    from pylm.runs.watching.watch import watch as show

    show(runs)
