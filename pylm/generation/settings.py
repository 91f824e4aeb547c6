"""How to draw, from keywords: the keys, bounds and sentences of the configuration's `sample` section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pylm._native import SampleSettings
from pylm.config.cascade import Setting, resolve
from pylm.config.sampling import preset_values
from pylm.config.schema import Sample

__all__ = ["draw_settings", "sample_settings"]


def sample_settings(given: Mapping[str, Any], preset: str | None = None) -> Sample:
    """Return the settings, checked as the command line does: one sentence for what cannot be.

    They win over the preset's.
    """
    chosen = {**(preset_values(preset) if preset is not None else {}), **given}
    settings = [Setting(f"sample.{key}", value, key) for key, value in chosen.items()]
    return resolve("sample", settings=settings, environ={}).config.sample


def draw_settings(settings: Sample) -> SampleSettings:
    """Return the settings for the sampler, whose numbers stand for what is left out."""
    return SampleSettings(
        temperature=settings.temperature,
        top_k=settings.top_k or 0,
        top_p=settings.top_p or 1.0,
        min_p=settings.min_p or 0.0,
        repetition_penalty=settings.repetition_penalty,
        presence_penalty=settings.presence_penalty,
        frequency_penalty=settings.frequency_penalty,
    )
