"""`pylm watch`: runs while they go on."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command
from pylm.cli.frame.completion import complete_runs


@command("watch", example="pylm watch\npylm watch runs/a runs/b\npylm watch runs/a --web")
@click.argument("runs", nargs=-1, metavar="[RUN…]", shell_complete=complete_runs)
@click.option("--web", is_flag=True, show_default=False, help="Show them as a page that this machine alone can open.")
@click.option("--port", type=int, default=0, help="Of the page.  [default: a free one]", show_default=False)
def watch(runs: tuple[str, ...], web: bool, port: int) -> None:
    """Watch runs, the newest where none is named: curves, speed, time by phase, the last sample, incidents.

    Keys: l logarithmic values, x the next axis, / runs by a part of their name, tab the next run, q leaves. It reads
    the runs' folders alone, here or over ssh. Where there is no terminal it writes lines, until no run goes on.
    """
    if web:
        from pylm.runs.watching.web import watch_web

        watch_web(runs, port, lambda address: click.echo(f"{address}  (Ctrl-C ends it)"))
        return
    from pylm.runs.watching.watch import watch as show

    show(runs)
