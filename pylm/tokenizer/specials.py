"""Which special tokens a text may hold."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from pylm.errors import TokenizerError, UsageError

__all__ = ["AllowedSpecial", "allowed_names", "one_of", "refuse"]

AllowedSpecial = str | Collection[str]


def allowed_names(allowed_special: AllowedSpecial, specials: Iterable[str]) -> frozenset[str]:
    """Return the special tokens that `allowed_special` lets stand in text."""
    known = frozenset(specials)
    if isinstance(allowed_special, str):
        if allowed_special == "all":
            return known
        if allowed_special in ("none", "none_raise"):
            return frozenset()
        raise UsageError(
            f"allowed_special is {allowed_special!r}", "say 'all', 'none', 'none_raise' or a set of special tokens"
        )
    wanted = frozenset(allowed_special)
    if unknown := sorted(wanted - known):
        raise UsageError(
            f"{unknown[0]!r} is no special token of this tokenizer", f"it has {', '.join(sorted(known)) or 'none'}"
        )
    return wanted


def one_of(names: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern that finds the special tokens, the longest first; None for no names."""
    ordered = sorted(names, key=lambda name: (-len(name), name))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def refuse(text: str | bytes, found: re.Pattern[str] | None) -> None:
    """Raise if the text holds a special token."""
    if found is None:
        return
    match = found.search(text if isinstance(text, str) else text.decode("utf-8", "replace"))
    if match:
        raise TokenizerError(
            f"the text holds the special token {match[0]} at character {match.start()}",
            "allowed_special='all' makes it a token, 'none' plain text",
        )
