"""A folder of cleaned text: what its manifest says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["is_begun", "manifest_of"]

FORMAT = "pylm-clean"


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder that cleaning wrote; None where it wrote none, or has not finished."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("format") == FORMAT else None


def is_begun(folder: Path) -> bool:
    """Say whether cleaning began in a folder, whether or not it came to its end."""
    try:
        job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(job, dict) and "request" in job
