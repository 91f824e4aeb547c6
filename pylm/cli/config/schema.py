"""`pylm config schema`: the JSON Schema of configuration files."""

from __future__ import annotations

from pylm.cli.frame.command import command
from pylm.cli.frame.printing import print_json


@command("schema", example="pylm config schema > pylm.schema.json")
def schema() -> None:
    """Print the JSON Schema of configuration files, for editors.

    An editor with the YAML language server completes and checks a file that begins with the line
    `# yaml-language-server: $schema=pylm.schema.json`.
    """
    from pylm.config.schema import json_schema

    print_json(json_schema())
