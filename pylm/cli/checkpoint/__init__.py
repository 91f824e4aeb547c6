"""`pylm checkpoint`: the folders that runs leave."""

from __future__ import annotations

from pylm.cli.frame.command import group

SUBCOMMANDS = {
    "consolidate": ("pylm.cli.checkpoint.consolidate_:consolidate_", "Join the shards of a checkpoint."),
}


@group(table=SUBCOMMANDS)
def checkpoint() -> None:
    """Make one checkpoint of what several ranks wrote."""
