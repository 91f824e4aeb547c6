"""`pylm config`: what is set and by whom, the schema, and the rewriting of older tools' files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pylm.cli.configured import configured
from pylm.cli.frame import group, json_option, print_json

if TYPE_CHECKING:
    from pylm.config.cascade import Resolved
    from pylm.config.given import Given


@group()
def config() -> None:
    """Show, describe and import configurations."""


def _keys(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from pylm.config.keys import all_keys

    return [key for key in all_keys() if key.startswith(incomplete)]


@configured(
    None,
    "show",
    example="pylm config show --preset llama-110m > mine.yaml",
    short_help="Show the configuration that results, and its origins.",
)
@click.argument("keys", nargs=-1, metavar="[KEY]…", shell_complete=_keys)
@click.option("--origin", is_flag=True, show_default=False, help="Say where every value came from.")
@json_option
def show(given: Given, keys: tuple[str, ...], origin: bool, as_json: bool) -> None:
    """Show the configuration that a preset, files, the environment and options make.

    It is printed as YAML that gives the same configuration when it is read with --config. KEY limits it: a section, a
    key or several. Any key can be set in passing, as for the commands that use it: --max-steps 50 or max_steps=50.
    """
    resolved = given.resolve()
    wanted = _wanted(keys)
    if as_json:
        print_json(_as_json(resolved, wanted, origin))
    elif origin:
        rows = [(key, _text(resolved, key), resolved.origin(key)) for key in wanted]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for key, value, source in rows:
            click.echo(f"{key:{widths[0]}}  {value:{widths[1]}}  {source}")
    else:
        click.echo(resolved.to_yaml(wanted), nl=False)


def _wanted(words: tuple[str, ...]) -> list[str]:
    from pylm.config.keys import all_keys, find_key
    from pylm.config.schema import SECTIONS

    every = all_keys()
    if not words:
        return every
    chosen: set[str] = set()
    for word in words:
        if word in SECTIONS:
            chosen.update(key for key in every if key.startswith(f"{word}."))
        else:
            chosen.add(".".join(find_key(word)))
    return [key for key in every if key in chosen]


def _value(resolved: Resolved, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(resolved.config, section).model_dump(mode="json")[name]


def _text(resolved: Resolved, key: str) -> str:
    import json

    value = _value(resolved, key)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _as_json(resolved: Resolved, keys: list[str], origin: bool) -> dict[str, Any]:
    if origin:
        return {key: {"value": _value(resolved, key), "origin": resolved.origin(key)} for key in keys}
    tree: dict[str, Any] = {}
    for key in keys:
        section, _, name = key.partition(".")
        tree.setdefault(section, {})[name] = _value(resolved, key)
    return tree


config.add_command(show)


@config.command("schema", example="pylm config schema > pylm.schema.json")
def schema() -> None:
    """Print the JSON Schema of configuration files, for editors.

    An editor with the YAML language server completes and checks a file that begins with the line
    `# yaml-language-server: $schema=pylm.schema.json`.
    """
    from pylm.config.schema import json_schema

    print_json(json_schema())


@config.command("import", example="pylm config import configs/model_config.yaml --out mine.yaml")
@click.argument("old", type=click.Path(dir_okay=False))
@click.option("--from", "tool", metavar="TOOL", help="The tool it was written for; told from its keys where left out.")
@click.option("--profile", metavar="NAME", help="Which configuration, where the file holds several.")
@click.option("--out", type=click.Path(dir_okay=False), help="Write it there instead of printing it.")
def import_(old: str, tool: str | None, profile: str | None, out: str | None) -> None:
    """Rewrite a configuration of an older tool as pylm's.

    Reads the YAML and JSON files of nue, the MLX transformer, buildingLLMFromScratch, microgpt and nash-llm (--from
    nue, mlx-transformer, building-llm, microgpt, nash-llm). What has no counterpart is said by name.
    """
    from pathlib import Path

    from pylm.config.importing import TOOLS, import_file
    from pylm.errors import UsageError, did_you_mean

    if tool is not None and tool not in TOOLS:
        raise UsageError(f"no such tool: {tool}", did_you_mean(tool, TOOLS) or f"there are {', '.join(TOOLS)}")
    made = import_file(Path(old), tool, profile)
    text = made.to_yaml()
    if out is None:
        click.echo(text, nl=False)
    else:
        _write_new(Path(out), text)
    for key, why in made.dropped:
        click.echo(f"not carried over: {key}: {why}", err=True)
    if out is not None:
        click.echo(f"{out} written: {len(made.settings)} keys, {len(made.dropped)} left behind", err=True)


def _write_new(path: Any, text: str) -> None:
    from pylm.errors import UsageError

    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already", "name another, or move it away") from None
