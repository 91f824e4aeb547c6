"""`pylm config`: what is set and by whom, the schema, and the rewriting of older tools' files."""

from __future__ import annotations

from pylm.cli.frame.command import group

SUBCOMMANDS = {
    "import": ("pylm.cli.config.import_:import_", "Rewrite a configuration of an older tool as pylm's."),
    "schema": ("pylm.cli.config.schema:schema", "Print the JSON Schema of configuration files, for editors."),
    "show": ("pylm.cli.config.show:show", "Show the configuration that results, and its origins."),
}


@group(table=SUBCOMMANDS)
def config() -> None:
    """Show, describe and import configurations."""
