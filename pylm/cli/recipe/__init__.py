"""`pylm recipe`: steps that are commands, each run once for what it is made of."""

from __future__ import annotations

from pylm.cli.frame.command import group

SUBCOMMANDS = {
    "plan": ("pylm.cli.recipe.plan:plan_", "Say what would run, and what it takes."),
    "run": ("pylm.cli.recipe.run:run_", "Run what does not stand, or go on with it."),
    "show": ("pylm.cli.recipe.show:show_", "Show the steps, and what they came to."),
    "why": ("pylm.cli.recipe.why:why_", "Say why a step would run again."),
}


@group(table=SUBCOMMANDS)
def recipe() -> None:
    """Run a file of steps that are commands, each once for what it is made of; kill it anywhere."""
