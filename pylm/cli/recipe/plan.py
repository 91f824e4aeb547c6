"""`pylm recipe plan`: what would run, and what it takes."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json
from pylm.cli.recipe.options import recipe_options


@command("plan", example="pylm recipe plan two-stage --size demo")
@recipe_options
@json_option
def plan_(file: str, out: str | None, size: str | None, as_json: bool) -> None:
    """Say what would run of a recipe and what stands; of trainings whose data stands, the time and disk.

    It runs nothing but pylm plan, which estimates without taking steps. The exit code is 3 where a training does not
    fit here.
    """
    from pylm.cli.frame.activity import Activity
    from pylm.cli.frame.recipes import planned_lines
    from pylm.errors import CheckError
    from pylm.recipes.plan import plan

    with Activity(quiet=as_json) as activity:
        planned = plan(file, out=out, size=size, told=activity.doing)
    if as_json:
        print_json(planned.as_dict())
    else:
        click.echo("\n".join(planned_lines(planned)))
    if short := [each for each in planned.steps if each.why_not]:
        raise CheckError(f"the step {short[0].name} does not fit: {'; '.join(short[0].why_not)}")
