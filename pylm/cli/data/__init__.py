"""`pylm data`: what is in token shards, and whether they are sound."""

from __future__ import annotations

from pylm.cli.frame.command import group

SUBCOMMANDS = {
    "show": ("pylm.cli.data.show:show", "Show a document: its tokens beside their text."),
    "stats": ("pylm.cli.data.stats:stats", "Show how much there is and which tokens it holds."),
    "verify": ("pylm.cli.data.verify:verify", "Check every byte; exit 3 where something is wrong."),
}


@group(table=SUBCOMMANDS)
def data() -> None:
    """Look into token shards and check them."""
