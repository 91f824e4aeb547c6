"""The pre-tokenizers that have a name, and the one sentence for a name that is none."""

from __future__ import annotations

import re

from pylm.errors import UsageError, did_you_mean

__all__ = ["PATTERNS", "checked", "read_elsewhere", "trained"]

PATTERNS = ("gpt2", "cl100k", "llama3", "qwen2", "o200k")


def checked(pattern: str) -> str:
    """Return `pattern`, a name or a regex. A mistyped name would be a regex too, one that finds itself only."""
    if pattern not in PATTERNS and re.fullmatch(r"[\w-]+", pattern):
        near = did_you_mean(pattern, PATTERNS)
        raise UsageError(f"no pattern is called {pattern!r}", near or f"{', '.join(PATTERNS)}, or a regex")
    return pattern


def trained(pattern: str) -> str:
    """Return the pattern to train with: a name, or the regex in a spelling that Hugging Face's engine reads alike."""
    from pylm._rust import portable_pattern

    return pattern if checked(pattern) in PATTERNS else portable_pattern(pattern)[0]


def read_elsewhere(pattern: str | None) -> str | None:
    """Return the part of a pattern that Hugging Face's engine reads in another way than ours, None where none is."""
    from pylm._rust import portable_pattern

    if pattern is None or pattern in PATTERNS:
        return None
    try:
        parts = portable_pattern(pattern)[1]
    except UsageError as error:
        return error.message.removeprefix("the pattern's ")
    return ", ".join(parts) or None
