"""What probing found out about this machine, remembered between runs."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from pylm.cache import cache_folder

__all__ = ["flops_of_product", "largest_flops", "recall", "remember"]

PROBES = "probes.json"
SECONDS, PRODUCTS = 0.1, 2  # that products are tried for, and how many at the least: the first one warms up


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


def largest_flops(key: str, measure: Callable[[], float], say: Callable[[str], None]) -> float:
    """Return the most FLOPs a second that were ever measured under a key, now included, and remember them.

    Whoever measured before may have shared the machine, as may whoever measures now: on one a run beside others found
    0.13 Tflop/s where 0.42 are to be had, and the size of a model is derived from them.
    """
    known, measured = (recall(key) or {}).get("flops"), measure()
    if isinstance(known, float) and known >= measured:
        return known
    remember(key, {"flops": measured}, say)
    return measured


def flops_of_product(multiply: Callable[[], object], flops: float) -> float:
    """Return the FLOPs a second of a product that is computed again and again, the fastest time of all.

    Args:
        multiply: computes it, and waits for it.
        flops: of one.
    """
    ends = [time.perf_counter()]
    while len(ends) <= PRODUCTS or ends[-1] - ends[0] < SECONDS:
        multiply()
        ends.append(time.perf_counter())
    return flops / min(end - start for start, end in pairwise(ends))
