"""`pylm bench`: how far this machine comes."""

from __future__ import annotations

from pylm.cli.frame.command import group

SUBCOMMANDS = {
    "track": ("pylm.cli.bench.track:track", "Train for five minutes, and score what was held back."),
}


@group(table=SUBCOMMANDS)
def bench() -> None:
    """Measure what this machine makes of a text."""
