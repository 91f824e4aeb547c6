"""`pylm runs diff`: what differs in the configurations of runs."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.printing import print_json


@command("diff", example="pylm runs diff runs/a runs/b")
@click.argument("first", metavar="RUN", shell_complete=complete_runs)
@click.argument("others", nargs=-1, required=True, metavar="RUN…", shell_complete=complete_runs)
@json_option
def diff(first: str, others: tuple[str, ...], as_json: bool) -> None:
    """Show the keys whose values differ, each with where it came from: an option, a file, a preset, the default."""
    from pylm.cli.frame.table import table
    from pylm.runs.differing import differences
    from pylm.runs.finding import find_runs

    runs = find_runs((first, *others))
    found = differences(runs)
    if as_json:
        keys = {key: [value._asdict() for value in values] for key, values in found.items()}
        print_json({"runs": list(map(str, runs)), "differences": keys})
        return
    if not found:
        click.echo(f"{' and '.join(map(str, runs))} have the same configuration")
        return
    rows = [("", *map(str, runs))]
    rows += [(key, *(f"{one.value} ({one.origin})" for one in values)) for key, values in found.items()]
    click.echo("\n".join(table(rows, to_the_left=range(len(rows[0])))))
