"""`pylm recipe run`: what does not stand of a recipe is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pylm.cli.frame.command import command
from pylm.cli.recipe.options import recipe_options

if TYPE_CHECKING:
    from pylm.recipes.events import Event

EXAMPLE = """pylm recipe run two-stage --size demo
pylm recipe run mine.yaml --out runs/mine"""


@command("run", example=EXAMPLE)
@recipe_options
def run_(file: str, out: str | None, size: str | None) -> None:
    """Run the steps of a recipe that do not stand, in order, each as a command in a process of its own.

    FILE is a YAML file, or the name of a recipe that comes with pylm: two-stage. A step stands where its command, its
    options and what its inputs hold are as when it ended. Kill it anywhere: the same command goes on with what was half
    done and comes to the same.
    """
    from pylm.cli.frame.activity import Activity
    from pylm.cli.frame.recipes import result_words, table_of
    from pylm.recipes import events
    from pylm.recipes.run import run

    with Activity() as activity:

        def tell(event: Event) -> None:
            where = f"[{event.number}/{event.steps}] {event.step}"
            if isinstance(event, events.Began):
                activity.doing(f"{where}: {'goes on' if event.goes_on else 'begins'}")
            elif isinstance(event, events.Told):
                activity.doing(f"{where}: {event.line}")
            elif isinstance(event, events.Stood):
                activity.say(f"{where} stands")
            elif isinstance(event, events.Ended):
                activity.rest()
                activity.say(f"{where} {result_words(event.seconds, event.result)}")

        standings = run(file, out=out, size=size, on_event=tell)
    click.echo("\n".join(table_of(standings)))
