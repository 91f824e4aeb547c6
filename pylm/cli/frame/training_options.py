"""The options that say which training is meant: `pylm train` runs it, `pylm plan` says what it takes; who watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.configured import complete_file

__all__ = ["training_options", "watching_options"]

Function = TypeVar("Function", bound=Callable[..., Any])


def training_options(*, out: str, resume: str, allow_inexact: str) -> Callable[[Function], Function]:
    """Return what gives a command these options, with its own words for those that it takes in its own way."""
    options = (
        click.argument("files", nargs=-1, metavar="[FILE]…", shell_complete=complete_file),
        click.option("--data", "data", metavar="DIR", help="Folder that pylm tokenize wrote, or a file of tokens."),
        click.option("--out", type=click.Path(), help=out),
        click.option(
            "--resume",
            is_flag=False,
            flag_value="auto",
            metavar="[auto|CHECKPOINT]",
            shell_complete=complete_runs,
            help=resume,
        ),
        click.option(
            "--init-from",
            metavar="CHECKPOINT",
            shell_complete=complete_runs,
            help="Start anew from a checkpoint's weights.",
        ),
        click.option(
            "--depth", type=click.IntRange(1, 64), help="Derive shape, learning rate and batch from so many layers."
        ),
        click.option("--allow-inexact", is_flag=True, show_default=False, help=allow_inexact),
    )

    def decorated(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorated


def watching_options(function: Function) -> Function:
    """Give a command that trains the options that say how its steps are watched."""
    profile = click.option(
        "--profile",
        is_flag=False,
        flag_value="5",
        metavar="[STEPS]",
        type=click.IntRange(1, 1000),
        help="Write RUN/profile: a trace of so many steps, 5 unless given, and a table by kernel.",
    )
    on_incident = click.option(
        "--on-incident", metavar="'PROGRAM ARGUMENT…'", help="Run it when a step or a tracker fails, without a shell."
    )
    return profile(on_incident(function))
