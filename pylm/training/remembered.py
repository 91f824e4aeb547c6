"""What probing found out about this machine, remembered between runs."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from typing import Any

from pylm.cache import cache_folder

__all__ = ["largest_flops", "recall", "remember"]

PROBES = "probes.json"


def recall(key: str) -> dict[str, Any] | None:
    """Return what an earlier run remembered under a key."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        value = json.loads((folder / PROBES).read_text(encoding="utf-8")).get(key)
    except (OSError, ValueError, AttributeError):
        return None
    return value if isinstance(value, dict) else None


def remember(key: str, value: dict[str, Any], say: Callable[[str], None]) -> None:
    """Remember something under a key; where that cannot be, the next run probes again."""
    folder = cache_folder()
    if folder is None:
        say("what was probed is not remembered: there is no home for a cache folder; set PYLM_CACHE")
        return
    path = folder / PROBES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            known = known if isinstance(known, dict) else {}
        except (OSError, ValueError):
            known = {}
        known[key] = value
        partial = path.with_name(f".{PROBES}.{secrets.token_hex(8)}")  # processes of two containers may have one number
        partial.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        say(f"what was probed is not remembered: {folder}: {(error.strerror or str(error)).lower()}; set PYLM_CACHE")


def largest_flops(key: str, measure: Callable[[], float], say: Callable[[str], None], again: bool) -> float:
    """Return the FLOPs a second that are remembered under a key, or those measured now; `again`: the larger of both.

    Whoever measured first may have shared the machine, so a run that has the time measures once more.
    """
    flops = (recall(key) or {}).get("flops")
    known = flops if isinstance(flops, float) else 0.0
    if known and not again:
        return known
    measured = measure()
    if measured > known:
        remember(key, {"flops": measured}, say)
    return max(measured, known)
