"""What differs between the configurations of runs, and where each value came from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pylm.errors import UsageError

__all__ = ["Value", "configuration", "differences", "differing", "environment"]

DEFAULT = "default"
GIVEN = "given"  # of a run that kept no origins


class Value(NamedTuple):
    """A key's value in a run, and where it came from: an option, a file and its line, a preset, `default`."""

    value: Any
    origin: str


def environment(run: Path) -> dict[str, Any]:
    """Return what a run noted of where it ran; nothing where it noted nothing."""
    try:
        noted = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return noted if isinstance(noted, dict) else {}


def configuration(run: Path) -> dict[str, Value]:
    """Return every key of a run's configuration, by qualified name."""
    from pylm.config.cascade import resolve
    from pylm.config.schema import SECTIONS, Config

    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run} holds no config.yaml", "compare runs that pylm train has made")
    config, default = resolve(files=[run / "config.yaml"], environ={}).config, Config()
    origins = environment(run).get("origins", {})
    keys: dict[str, Value] = {}
    for section in SECTIONS:
        plain = getattr(default, section).model_dump(mode="json")
        for key, value in getattr(config, section).model_dump(mode="json").items():
            fallback = DEFAULT if value == plain[key] else GIVEN
            keys[f"{section}.{key}"] = Value(value, origins.get(f"{section}.{key}", fallback))
    return keys


def differences(runs: Sequence[Path]) -> dict[str, list[Value]]:
    """Return the keys whose values are not the same in all runs, with the value of each."""
    return differing([configuration(run) for run in runs])


def differing(read: Sequence[Mapping[str, Value]]) -> dict[str, list[Value]]:
    """Return the keys that two configurations or more have and whose values differ; one that lacks it has `ABSENT`."""
    keys = dict.fromkeys(key for each in read for key in each)
    sides = {key: [each.get(key, ABSENT) for each in read] for key in keys if sum(key in each for each in read) > 1}
    return {key: values for key, values in sides.items() if any(one.value != values[0].value for one in values)}


ABSENT = Value(None, "not kept")
