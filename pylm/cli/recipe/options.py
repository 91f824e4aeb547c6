"""What all commands of `pylm recipe` take: a file, the folder of what is made, a size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["recipe_options"]

Function = TypeVar("Function", bound=Callable[..., Any])


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    from pylm.recipes.file import shipped

    names = [CompletionItem(name) for name in shipped() if name.startswith(incomplete)]
    return [*names, CompletionItem(incomplete, type="file")]


def recipe_options(function: Function) -> Function:
    """Give a command the recipe, `--out` and `--size`."""
    function = click.option("--size", metavar="NAME", help="One of the recipe's sizes.  [default: its first]")(function)
    function = click.option(
        "--out", type=click.Path(file_okay=False), metavar="DIR",
        help="Folder of all that is made.  [default: runs/<name>-<size>]",
    )(function)  # fmt: skip
    return click.argument("file", metavar="FILE|NAME", shell_complete=_complete)(function)
