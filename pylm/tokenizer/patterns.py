"""The pre-tokenizers that have a name, and the one sentence for a name that is none."""

from __future__ import annotations

import re

from pylm.errors import UsageError, did_you_mean

__all__ = ["PATTERNS", "checked"]

PATTERNS = ("gpt2", "cl100k", "llama3", "qwen2", "o200k")


def checked(pattern: str) -> str:
    """Return `pattern`, a name or a regex; a mistyped name would be a regex too, one that finds itself only."""
    if pattern not in PATTERNS and re.fullmatch(r"[\w-]+", pattern):
        near = did_you_mean(pattern, PATTERNS)
        raise UsageError(f"no pattern is called {pattern!r}", near or f"{', '.join(PATTERNS)}, or a regex")
    return pattern
