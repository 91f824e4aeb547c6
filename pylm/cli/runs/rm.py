"""`pylm runs rm`: runs that are no longer wanted."""

from __future__ import annotations

import sys

import click

from pylm.cli.frame.command import command
from pylm.cli.frame.completion import complete_runs


@command("rm", example="pylm runs rm runs/try-1 runs/try-2 --yes")
@click.argument("names", nargs=-1, required=True, metavar="RUN…", shell_complete=complete_runs)
@click.option("--yes", is_flag=True, show_default=False, help="Do not ask.")
def rm(names: tuple[str, ...], yes: bool) -> None:
    """Remove runs with their checkpoints. One that is in use is refused, and so is a folder that holds anything else.

    It asks first; where nobody can answer, it wants --yes.
    """
    from pylm.config.units import counted, format_bytes
    from pylm.errors import UsageError
    from pylm.runs.removing import check_removable, remove_run

    runs = list(dict.fromkeys(check_removable(name) for name in names))
    size = sum(path.lstat().st_size for run in runs for path in run.rglob("*") if path.is_file())
    what = f"{', '.join(map(str, runs))} ({format_bytes(size)})"
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"nobody is asked whether to remove {what}", "say so with --yes")
        if not click.confirm(f"Remove {counted(len(runs), 'run')}, {what}?"):
            raise click.exceptions.Exit(1)
    for run in runs:
        remove_run(run)
        click.echo(f"removed {run}")
