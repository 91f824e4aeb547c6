"""Presets of sampling, for `--preset` of sample and chat, for /set and for `pylm.generate`: what these words mean."""

from __future__ import annotations

from typing import Any

from pylm.errors import UsageError, did_you_mean

__all__ = ["DRAWING", "PRESETS", "preset_values"]

# every key of DRAWING that a preset leaves out is at its default
PRESETS: dict[str, dict[str, Any]] = {
    "creative": {"temperature": 1.1, "top_p": 0.95, "presence_penalty": 0.3},
    "balanced": {"temperature": 0.8, "top_p": 0.95},
    "precise": {"temperature": 0.3, "top_p": 0.9},
    "greedy": {"temperature": 0.0},
}
DRAWING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")


def preset_values(name: str) -> dict[str, Any]:
    """Return what a preset sets, by key of the section `sample`."""
    if name not in PRESETS:
        raise UsageError(
            f"there is no preset {name!r} of sampling", did_you_mean(name, PRESETS) or f"presets: {', '.join(PRESETS)}"
        )
    return dict(PRESETS[name])
