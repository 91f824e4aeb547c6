"""What `--config FILE` says in its section `data`, for the commands that prepare data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pylm.errors import UsageError

if TYPE_CHECKING:
    from pylm.config.schema import Data

__all__ = ["cleaning_of", "config_option", "data_of", "sources_of", "taken_from"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def config_option(text: str) -> Callable[[Decorated], Decorated]:
    """Add `--config FILE`, whose section `data` gives what is not given here; `text` says what is taken."""
    return click.option("--config", type=click.Path(dir_okay=False), metavar="FILE", help=text)


def data_of(config: str) -> Data:
    """Return the section `data` of a file, checked as all of the configuration is."""
    from pylm.config.given import Given

    return Given("data", files=(config,)).resolve().config.data


def sources_of(names: tuple[str, ...], config: str | None, what: str, hint: str) -> list[str] | dict[str, float]:
    """Return the names that were given, or the sources of a configuration with their weights.

    Args:
        names: What was given.
        config: The file, if one was.
        what: What is missing where there is neither, such as `no dataset was named`, and `hint` where to find some.
        hint: See above.
    """
    if names:
        if config is not None and data_of(config).sources:
            raise UsageError("--config names the sources where no NAME does", "give one of them")
        return list(names)
    if config is None:
        raise UsageError(what, hint)
    sources = data_of(config).sources
    if not sources:
        raise UsageError(f"{config} names no data.sources", "write them under data: sources: {tinystories: 1}")
    return sources


def cleaning_of(config: str | None) -> dict[str, Any]:
    """Return the options of cleaning by which a configuration wants it; `rules` alone where it names no more."""
    clean = None if config is None else data_of(config).clean
    if clean is None:
        return {}
    return {"rules": clean} if isinstance(clean, str) else dict(clean)


def taken_from(config: str | None, options: dict[str, Any], keys: dict[str, str]) -> dict[str, Any]:
    """Return the options, those that were not given as the configuration has them; `keys` are its names for them."""
    if config is None:
        return options
    data = data_of(config)
    return {
        name: getattr(data, keys[name]) if value is None and name in keys else value for name, value in options.items()
    }
