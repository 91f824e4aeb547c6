"""`pylm runs`: the runs of a folder, what differs between two, where they are sent, and their removal."""

from __future__ import annotations

from pylm.cli.frame.command import group

SUBCOMMANDS = {
    "ls": ("pylm.cli.runs.ls:ls", "List the runs of a folder, and where each stands."),
    "show": ("pylm.cli.runs.show:show", "Show a run: what it is, and what it came to."),
    "diff": ("pylm.cli.runs.diff:diff", "Show what differs in the configurations of runs."),
    "track": ("pylm.cli.runs.track:track", "Send a run to csv, tensorboard, wandb, trackio or mlflow."),
    "rm": ("pylm.cli.runs.rm:rm", "Remove runs."),
}


@group(table=SUBCOMMANDS)
def runs() -> None:
    """List, show, compare, send on and remove runs."""
