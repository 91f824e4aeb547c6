"""What every command is made of: help that shows defaults and an example, forgiving spelling, lazily imported code.

A command is a function in its own file::

    @command(example="pylm data stats data/x")
    @click.argument("folder")
    @json_option
    def stats(folder: str, as_json: bool) -> None:
        from pylm.data import manifest          # heavy imports here, never on top

and a line in `pylm.cli.commands.COMMANDS`. A command with subcommands is a folder: `group(table=…)` in its
`__init__.py`, and a file for each subcommand.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import click

from pylm.errors import did_you_mean

__all__ = [
    "Command",
    "Group",
    "LazyGroup",
    "command",
    "debug_wanted",
    "group",
    "json_option",
]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "show_default": True,
    "max_content_width": 110,
    # `--max_steps` is `--max-steps`, and `sp_bpe` is the choice `sp-bpe`
    "token_normalize_func": lambda token: token.replace("_", "-"),
}
DEBUG = "pylm.debug"


def debug_wanted(ctx: click.Context | None = None) -> bool:
    """Say whether errors come with their traceback: `--debug` was given, or PYLM_DEBUG is set."""
    ctx = ctx or click.get_current_context(silent=True)
    return bool(os.environ.get("PYLM_DEBUG")) or (ctx is not None and bool(ctx.find_root().meta.get(DEBUG)))


def _note_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().meta[DEBUG] = True


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        show_default=False,
        callback=_note_debug,
        help="Show the traceback of an error.",
    )


class Command(click.Command):
    """A click command with the house's manners."""

    def __init__(self, *args: Any, example: str | None = None, **kwargs: Any) -> None:
        """Take what click.Command takes, and an example that `--help` ends with."""
        kwargs["context_settings"] = {**SETTINGS, **(kwargs.get("context_settings") or {})}
        super().__init__(*args, **kwargs)
        self.example = example
        self.params.append(_debug_option())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let click's complaints know of which command they are: its parser does not tell."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """End the help with the example."""
        super().format_epilog(ctx, formatter)
        if self.example:
            with formatter.section("Example"):
                for line in self.example.splitlines():
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Group(Command, click.Group):
    """A command with subcommands, which suggests the nearest one for a mistyped name."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Print the help where no subcommand was named."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand, dashes and underscores alike, or say which is nearest."""
        name = args[0].replace("_", "-") if not args[0].startswith("-") else args[0]
        found = self.get_command(ctx, name)
        if found is None and not ctx.resilient_parsing and not name.startswith("-"):
            raise unknown_word(f"no such command: {ctx.command_path} {args[0]}", name, self.list_commands(ctx), ctx)
        return super().resolve_command(ctx, [name, *args[1:]])


class LazyGroup(Group):
    """A group that imports a command when it is called, and prints its own help without importing any."""

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        """Take the table of `name: ("module:object", help)`."""
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module that holds a command."""
        if cmd_name not in self.table:
            return None
        module, _, name = self.table[cmd_name][0].partition(":")
        return cast(click.Command, getattr(importlib.import_module(module), name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table alone."""
        if not self.table:
            return
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete names from the table alone."""
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=text) for name, (_, text) in self.table.items() if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)


def unknown_word(message: str, word: str, known: Iterable[str], ctx: click.Context) -> Exception:
    """Return the error for a mistyped word: the nearest known one, else where the known ones are listed."""
    from pylm.errors import UsageError

    near = did_you_mean(word, known)
    return UsageError(message, near or f"{ctx.command_path} --help lists what there is")


def command(
    name: str | None = None, *, example: str, cls: type[Command] = Command, **attributes: Any
) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command; its docstring is the help, `example` a line that works."""
    return click.command(name, cls=cls, example=example, **attributes)


def group(
    name: str | None = None, *, table: Mapping[str, tuple[str, str]], **attributes: Any
) -> Callable[[Callable[..., Any]], LazyGroup]:
    """Make a function a command with the subcommands of a table, which are imported when they are called."""
    return click.group(name, cls=LazyGroup, table=table, **attributes)


def json_option(function: Decorated) -> Decorated:
    """Add `--json`, which arrives as `as_json`: the result as one JSON document on stdout."""
    return click.option(
        "--json", "as_json", is_flag=True, show_default=False, help="Print the result as JSON, for programs."
    )(function)
