"""What the tests of formats read with: all documents, and those from every position on."""

from __future__ import annotations

import json
from typing import Any

from pylm import _rust

__all__ = ["again_from_everywhere", "documents", "texts"]


def documents(*sources: Any, **options: Any) -> list[tuple[str, str | None, str | None]]:
    """Return (text, id, meta) of all documents of the sources."""
    return [row for batch in _rust.Documents(list(sources), **options) for row in batch]


def texts(*sources: Any, **options: Any) -> list[str]:
    """Return all documents of the sources."""
    return [text for text, _, _ in documents(*sources, **options)]


def again_from_everywhere(*sources: Any, **options: Any) -> int:
    """Check that reading goes on from each position, as it went on; return how many positions there were."""
    whole = texts(*sources, **options)
    reader = _rust.Documents(list(sources), **options)
    done = count = 0
    for batch in reader:
        done += len(batch)
        count += 1
        position = json.loads(json.dumps(reader.position))
        assert texts(*sources, start=position, **options) == whole[done:], position
    return count
