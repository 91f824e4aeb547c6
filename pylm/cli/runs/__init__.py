"""`pylm runs`: the runs of a folder, what differs between two, and their removal."""

from __future__ import annotations

from pylm.cli.frame.command import group

SUBCOMMANDS = {
    "ls": ("pylm.cli.runs.ls:ls", "List the runs of a folder, and where each stands."),
    "show": ("pylm.cli.runs.show:show", "Show a run: what it is, and what it came to."),
    "diff": ("pylm.cli.runs.diff:diff", "Show what differs in the configurations of runs."),
    "rm": ("pylm.cli.runs.rm:rm", "Remove runs."),
}


@group(table=SUBCOMMANDS)
def runs() -> None:
    """List, show, compare and remove runs."""
