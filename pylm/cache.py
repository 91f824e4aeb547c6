"""Where what was fetched, probed or compiled is kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path | None:
    """Return $PYLM_CACHE, else pylm's part of the user's cache folder; None for a user who has no home.

    A cache that cannot be had costs the memory of what would be in it, and nothing else.
    """
    if chosen := os.environ.get("PYLM_CACHE"):
        return Path(chosen)
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "pylm"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pylm"
    except RuntimeError:
        return None
