"""`pylm recipe why`: what changed since a step ran."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command
from pylm.cli.recipe.options import recipe_options


@command("why", example="pylm recipe why two-stage anneal-1 --size demo")
@recipe_options
@click.argument("step")
def why_(file: str, step: str, out: str | None, size: str | None) -> None:
    """Say why a step would run again: which option or input is another than when it ran; or that it stands."""
    from pylm.recipes.why import why
    from pylm.wording import in_options

    click.echo(in_options("\n".join(why(file, step, out=out, size=size))))
