"""The presets that come with pylm: YAML files beside this one, found without reading any."""

from __future__ import annotations

from pathlib import Path

from pylm.errors import ConfigError, did_you_mean

__all__ = ["preset_names", "preset_path"]

FOLDER = Path(__file__).parent / "presets"


def preset_names() -> list[str]:
    """Name the presets, in alphabetical order."""
    return sorted(path.stem if path.suffix == ".yaml" else path.name for path in FOLDER.glob("*.yaml"))


def preset_path(name: str) -> Path:
    """Find a preset's file; underscores and capitals are forgiven."""
    spelled = name.lower().replace("_", "-")
    if spelled not in preset_names():
        near = did_you_mean(spelled, preset_names())
        raise ConfigError(f"no such preset: {name}", near or f"there are {', '.join(preset_names())}")
    return FOLDER / f"{spelled}.yaml"
