"""What the subcommands of `pylm tokenizer` have in common: how text is read, and how a tokenizer is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pylm.cli.frame.types import BYTES, COUNT

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer

__all__ = ["load", "one_tokenizer", "text_options", "tokenizer_options"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def text_options(function: Decorated) -> Decorated:
    """Add what says how sources are read."""
    for option in (
        click.option("--field", default="text", metavar="KEY", help="The key of a jsonl line that holds the text."),
        click.option("--column", default="text", metavar="NAME", help="The parquet column that holds the text."),
        click.option(
            "--split",
            metavar="STRING|blank|line|file",
            help="What stands between documents of a plain text.  [default: <|endoftext|>]",
        ),
        click.option(
            "--invalid",
            type=click.Choice(["error", "replace"]),
            default="error",
            help="Bytes that are no UTF-8: stop, or put U+FFFD there and count them.",
        ),
        click.option("--skip-bad", is_flag=True, show_default=False, help="Leave out broken jsonl lines."),
        click.option("--documents", type=COUNT, metavar="N", help="Read the first N documents only."),
        click.option("--bytes", "size", type=BYTES, metavar="SIZE", help="Read about so much text only."),
    ):
        function = option(function)
    return function


def tokenizer_options(function: Decorated) -> Decorated:
    """Add what says how a tokenizer is loaded."""
    for option in (
        click.option("--pattern", metavar="NAME|REGEX", help="How text is cut, where T is ranks that do not say it."),
        click.option("--special", "specials", multiple=True, metavar="TOKEN", help="A special token of such ranks."),
        click.option("--offline", is_flag=True, default=None, show_default=False, help="Stay off the network."),
    ):
        function = option(function)
    return function


def one_tokenizer(function: Decorated) -> Decorated:
    """Add --tokenizer and how it is loaded."""
    named = click.option("--tokenizer", "name", required=True, metavar="T", help="A name, file, folder or Hub id.")
    return named(tokenizer_options(function))


def load(name: str, pattern: str | None, specials: tuple[str, ...], offline: bool | None) -> Tokenizer:
    """Load what `tokenizer_options` named."""
    from pylm.tokenizer import Tokenizer

    return Tokenizer.load(name, pattern=pattern, specials=specials or None, offline=offline)
