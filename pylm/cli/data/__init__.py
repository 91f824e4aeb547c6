"""`pylm data`: datasets to get by name, what is in token shards, and whether they are sound."""

from __future__ import annotations

from pylm.cli.frame.command import group

SUBCOMMANDS = {
    "check": ("pylm.cli.data.check_:check_", "Show what of examples is learned, and what is wrong."),
    "clean": ("pylm.cli.data.clean_:clean_", "Leave out what makes text worse, and say what went and why."),
    "get": ("pylm.cli.data.get_:get_", "Fetch datasets by name, verified to the byte."),
    "list": ("pylm.cli.data.list_:list_", "List the datasets that are known by name."),
    "mix": ("pylm.cli.data.mix_:mix_", "Mix sources by weight, in tokens, into one folder of shards."),
    "rethreshold": ("pylm.cli.data.rethreshold_:rethreshold_", "Decide anew what stays of cleaned text."),
    "report": ("pylm.cli.data.report:report_", "Show what cleaning removed and why, as a page too."),
    "show": ("pylm.cli.data.show:show", "Show a document of shards, or the first of a source."),
    "split": ("pylm.cli.data.split:split", "Divide token shards into training and validation."),
    "stats": ("pylm.cli.data.stats:stats", "Show how much there is and which tokens it holds."),
    "stories": ("pylm.cli.data.stories:stories_", "Write small stories: text that needs no network."),
    "verify": ("pylm.cli.data.verify:verify", "Check every byte; exit 3 where something is wrong."),
}


@group(table=SUBCOMMANDS)
def data() -> None:
    """Get datasets by name; look into token shards and check them."""
