"""How to draw, from keywords: the keys, bounds and sentences of the configuration's `sample` section."""

from __future__ import annotations

from typing import Any

from pylm.config.cascade import Setting, resolve
from pylm.config.schema import Sample

__all__ = ["sample_settings"]


def sample_settings(given: dict[str, Any]) -> Sample:
    """Check settings as the command line does: one sentence for what cannot be."""
    settings = [Setting(f"sample.{key}", value, key) for key, value in given.items()]
    return resolve("sample", settings=settings, environ={}).config.sample
