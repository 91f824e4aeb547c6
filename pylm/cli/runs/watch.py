"""`pylm watch`: runs while they go on."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command
from pylm.cli.frame.completion import complete_runs
from pylm.errors import UsageError


@command("watch", example="pylm watch\npylm watch runs/a runs/b\npylm watch runs/a --web")
@click.argument("runs", nargs=-1, metavar="[RUN…]", shell_complete=complete_runs)
@click.option("--web", is_flag=True, show_default=False, help="Show them as a page that this machine alone can open.")
@click.option("--port", type=int, help="Of the page.  [default: a free one]")
@click.option("--host", help="The address the page listens at; but for loopback it has a token.  [default: 127.0.0.1]")
@click.option("--token", help="What a browser has to know.  [default: PYLM_TOKEN, or a new one where it is needed]")
def watch(runs: tuple[str, ...], web: bool, port: int | None, host: str | None, token: str | None) -> None:
    """Watch runs, the newest where none is named: curves, speed, time by phase, the last sample, incidents.

    Keys: l logarithmic values, x the next axis, / runs by a part of their name, tab the next run, q leaves. It reads
    the runs' folders alone, here or over ssh. Where there is no terminal it writes lines, until no run goes on.
    """
    if web:
        from pylm.runs.watching.web import watch_web

        address = {"host": host} if host else {}
        watch_web(runs, port or 0, lambda where: click.echo(f"{where}  (Ctrl-C ends it)"), token=token, **address)
        return
    for name, given in (("port", port), ("host", host), ("token", token)):
        if given is not None:
            raise UsageError(f"--{name} is of the page", "with --web there is one")
    from pylm.runs.watching.watch import watch as show

    show(runs)
