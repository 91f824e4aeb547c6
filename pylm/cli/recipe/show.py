"""`pylm recipe show`: the steps of a recipe, and what they came to."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json
from pylm.cli.recipe.options import recipe_options


@command("show", example="pylm recipe show two-stage --size demo")
@recipe_options
@json_option
def show_(file: str, out: str | None, size: str | None, as_json: bool) -> None:
    """Show the steps of a recipe and what they came to; of evaluations the tables, paired by document."""
    from pylm.cli.frame.recipes import table_of
    from pylm.recipes.show import show

    standings = show(file, out=out, size=size)
    if as_json:
        print_json({"steps": [each.as_dict() for each in standings]})
    else:
        click.echo("\n".join(table_of(standings)))
