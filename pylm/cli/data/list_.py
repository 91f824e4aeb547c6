"""`pylm data list`: the datasets that are known by name, and what is here of them."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_datasets
from pylm.cli.frame.printing import print_json


@command("list", example="pylm data list\npylm data list fineweb")
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete_datasets)
@json_option
def list_(name: str | None, as_json: bool) -> None:
    """List the datasets that are known by name, or what is known of one: size, licence, columns, revision.

    Nothing is asked of the network: it says what the catalogue has, and what of it lies in the caches here.
    """
    from pylm.cli.frame import datasets
    from pylm.data.catalogue import dataset, names
    from pylm.data.catalogue.here import copies

    shown = [dataset(one) for one in (names() if name is None else [name])]
    here = copies(shown)
    if as_json:
        print_json({"datasets": [datasets.as_json(one, here[one.name]) for one in shown]})
    elif name is None:
        click.echo("\n".join(datasets.table(shown, here)))
    else:
        click.echo("\n".join(datasets.page(shown[0], here[shown[0].name])))
