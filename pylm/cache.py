"""Where what was fetched, probed or compiled is kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return $PYLM_CACHE, else pylm's part of the user's cache folder."""
    if chosen := os.environ.get("PYLM_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "pylm"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pylm"
