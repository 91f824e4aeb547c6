"""`pylm data list`: the datasets that are known by name, and what is here of them."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_datasets
from pylm.cli.frame.data_section import config_option, sources_of
from pylm.cli.frame.printing import print_json


@command("list", example="pylm data list\npylm data list fineweb")
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete_datasets)
@config_option("List the datasets of its data.sources.")
@json_option
def list_(name: str | None, config: str | None, as_json: bool) -> None:
    """List the datasets that are known by name, or what is known of one: size, licence, columns, revision.

    Nothing is asked of the network: it says what the catalogue has, and what of it lies in the caches here.
    """
    from pylm.cli.frame import datasets
    from pylm.data.catalogue import dataset, names
    from pylm.data.catalogue.here import copies

    wanted = names() if config is None and name is None else _wanted(name, config)
    shown = [dataset(one) for one in wanted]
    here = copies(shown)
    if as_json:
        print_json({"datasets": [datasets.as_json(one, here[one.name]) for one in shown]})
    elif name is None:
        click.echo("\n".join(datasets.table(shown, here)))
    else:
        click.echo("\n".join(datasets.page(shown[0], here[shown[0].name])))


def _wanted(name: str | None, config: str | None) -> list[str]:
    """Return the dataset that was named, or those of a configuration; files and addresses are no datasets."""
    from pylm.data.catalogue import is_known
    from pylm.errors import UsageError

    sources = list(sources_of(() if name is None else (name,), config, "", ""))
    if name is not None:
        return sources
    known = [each for each in sources if is_known(each)]
    if not known:
        raise UsageError(f"no source of {config} is a dataset that is known by name", "pylm data list shows all")
    return known
