"""`pylm runs track`: a run, sent to trackers."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command
from pylm.cli.frame.completion import complete_runs


@command("track", example="pylm runs track runs/a --to tensorboard\npylm runs track runs/a --to wandb:my-project,csv")
@click.argument("run", required=False, metavar="[RUN]", shell_complete=complete_runs)
@click.option("--to", multiple=True, metavar="TRACKER", help="One or several.  [default: those of the run]")
def track(run: str | None, to: tuple[str, ...]) -> None:
    """Send a run, the newest where none is named, to csv, tensorboard, wandb, trackio or mlflow.

    Nothing that was sent is sent again. A run that goes on is followed to its end. wandb, trackio and mlflow take a
    project too: wandb:my-project.
    """
    from pylm.errors import CheckError, UsageError
    from pylm.runs import Run
    from pylm.runs.finding import find_runs
    from pylm.runs.trackers import SERVICES, Told
    from pylm.runs.trackers import track as send

    path = find_runs([run] if run else [])[0]
    trackers = [name for one in to for name in one.split(",")] or list(Run(path).config.metrics.trackers)
    if not trackers:
        raise UsageError(f"{path} has no trackers of its own", f"name one: --to {' | '.join(SERVICES)}")
    failed: list[str] = []

    def say(told: Told) -> None:
        if told.dropped is not None:
            failed.append(f"{told.tracker}: {told.dropped}")
        elif told.note is not None:
            click.echo(f"{told.tracker}: {told.note}", err=True)
        else:
            click.echo(f"{told.tracker}: {told.sent:,} lines sent")

    send(path, trackers, say)
    if failed:
        raise CheckError("; ".join(failed), f"the same line goes on from there; {path}/trackers/log.txt has more")
