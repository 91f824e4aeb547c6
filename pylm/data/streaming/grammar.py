"""What a name of a source means: a path, or where else text lies. Nothing is read, and no network is asked."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from pylm.errors import UsageError, did_you_mean

__all__ = ["HubName", "hub_name", "is_path", "is_there", "kind_of", "nearest"]

GLOB = "*?["
_HUB = re.compile(r"hub:(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^:]+))?(?P<rest>(?::[^:]*){0,3})")
_URL = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True)
class HubName:
    """A data set of the Hub as its name says it; what the name leaves out is None."""

    id: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None
    column: str | None = None


def kind_of(name: str) -> str:
    """Return what a name names: `stdin`, `text`, `url`, `hub`, `data` (of the catalogue) or `path`.

    A path wins over a name of the catalogue; `data:` and `hub:` in front force one, and `./` a path.
    """
    if name == "-":
        return "stdin"
    for prefix in ("text", "hub", "data"):
        if name.startswith(f"{prefix}:"):
            return prefix
    if _URL.match(name):
        return "url"
    return "path" if is_path(name) or not _is_known(name) else "data"


def is_path(name: str) -> bool:
    """Say whether a file or a folder has that name, or it is a pattern of names."""
    try:
        return bool(name) and (os.path.exists(name) or bool(set(name) & set(GLOB)))
    except ValueError:  # no name of a file at all
        return False


def is_there(name: str) -> bool:
    """Say whether a name means anything: only a path that leads nowhere does not."""
    return kind_of(name) != "path" or is_path(name)


def nearest(name: str) -> str | None:
    """Return the hint for a name that means nothing: the nearest of the catalogue, None where none is near."""
    from pylm.data.catalogue import names

    return did_you_mean(name, names())


def hub_name(name: str) -> HubName:
    """Read `hub:ORG/NAME[@REV][:CONFIG[:SPLIT[:COLUMN]]]`."""
    match = _HUB.fullmatch(name)
    if match is None:
        raise UsageError(f"{name} is no data set of the Hub", "write hub:ORG/NAME[@REV][:CONFIG[:SPLIT[:COLUMN]]]")
    parts = [part or None for part in match["rest"].split(":")[1:]]
    config, split, column = (*parts, None, None, None)[:3]
    return HubName(match["id"], match["revision"], config, split, column)


def _is_known(name: str) -> bool:
    from pylm.data.catalogue import is_known

    return is_known(name)
