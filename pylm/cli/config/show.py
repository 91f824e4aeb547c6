"""`pylm config show`: the configuration that results, and where each value came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.command import json_option
from pylm.cli.frame.configured import configured
from pylm.cli.frame.printing import print_json
from pylm.cli.frame.table import table

if TYPE_CHECKING:
    from pylm.config.cascade import Resolved
    from pylm.config.given import Given


def _keys(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from pylm.config.keys import all_keys

    return [key for key in all_keys() if key.startswith(incomplete)]


@configured(
    None,
    "show",
    example="pylm config show --preset llama-110m > mine.yaml",
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
        click.echo("\n".join(table(rows, to_the_left=(0, 1, 2))))
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
