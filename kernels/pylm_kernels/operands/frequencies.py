"""The speed at which each pair of dimensions turns, as scalings bend it: plain numbers, for torch and MLX alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

LAYOUTS = ("half", "interleaved")
SCALINGS: dict[str, set[str]] = {
    "linear": {"factor"},
    "ntk": {"factor"},
    "yarn": {
        "factor", "original_max_positions", "beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim",
        "truncate",
    },
    "llama3": {"factor", "original_max_positions", "low_freq_factor", "high_freq_factor"},
    "default": set(),
}  # fmt: skip


def rotating(head_dim: int, dims: int | None, layout: str, scaling: Mapping[str, Any] | None = None) -> int:
    """Return how many dimensions of a head rotate, or raise ValueError where layout or dims is impossible."""
    share = (scaling or {}).get("partial_rotary_factor")
    if share is not None:
        part = int(head_dim * float(share))
        if dims is not None and dims != part:
            raise ValueError(
                f"scaling: partial_rotary_factor {share} rotates {part} of {head_dim} dimensions, dims {dims}"
            )
        dims = part
    dims = head_dim if dims is None else dims
    if layout not in LAYOUTS:
        raise ValueError(f"layout: {layout!r} is not one of {', '.join(LAYOUTS)}")
    if dims <= 0 or dims % 2 or dims > head_dim:
        raise ValueError(f"dims: {dims} must be even, positive and at most head_dim {head_dim}")
    return dims


def frequencies(dims: int, theta: float, scaling: Mapping[str, Any] | None) -> tuple[list[float], float]:
    """Return the radians a position for each of dims / 2 pairs, and the factor on cosines and sines.

    The factor is YaRN's, and 1 without YaRN.
    """
    plain = _powers(dims, theta)
    return (plain, 1.0) if scaling is None else _scaled(plain, dims, theta, _checked(scaling))


def _powers(dims: int, theta: float) -> list[float]:
    return [theta ** (-i / dims) for i in range(0, dims, 2)]


def _checked(scaling: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by our names, "type" among them; a key whose value is None counts as absent."""
    settings = {key: value for key, value in scaling.items() if value is not None}
    settings.pop("partial_rotary_factor", None)  # which `rotating` reads
    kinds = settings.pop("rope_type", None), settings.pop("type", None)
    kind = kinds[1] or kinds[0] or "default"
    if "original_max_position_embeddings" in settings:
        settings["original_max_positions"] = settings.pop("original_max_position_embeddings")
    if kind not in SCALINGS:
        raise ValueError(f"scaling: type {kind!r} is not one of {', '.join(SCALINGS)}")
    if "rope_theta" in settings:
        raise ValueError("scaling: rope_theta is the argument theta; Rope.from_config(config) reads both")
    if extra := sorted(set(settings) - SCALINGS[kind]):
        raise ValueError(
            f"scaling: {kind} knows no {', '.join(extra)}; it takes {', '.join(sorted(SCALINGS[kind])) or 'nothing'}"
        )
    if kind == "default":
        return {"type": kind}
    needed = {"factor"} | ({"original_max_positions"} if kind in ("yarn", "llama3") else set())
    if missing := sorted(needed - set(settings)):
        raise ValueError(f"scaling: {kind} needs {', '.join(missing)}")
    if float(settings["factor"]) < 1:
        raise ValueError(f"scaling: factor {float(settings['factor'])} is below 1")
    return settings | {"type": kind}


def _between(x: float) -> float:
    return min(max(x, 0.0), 1.0)


def _scaled(plain: list[float], dims: int, theta: float, settings: dict[str, Any]) -> tuple[list[float], float]:
    """Return the frequencies as the scaling bends them, and the factor on cosines and sines."""
    kind, factor = settings["type"], float(settings.get("factor", 1.0))
    if kind == "default":
        return plain, 1.0
    if kind == "linear":
        return [f / factor for f in plain], 1.0
    if kind == "ntk":
        return _powers(dims, theta * factor ** (dims / (dims - 2)) if dims > 2 else theta), 1.0
    original = float(settings["original_max_positions"])
    if kind == "llama3":
        low, high = float(settings.get("low_freq_factor", 1.0)), float(settings.get("high_freq_factor", 4.0))
        # by how often each pair turns within the original context
        smooth = [_between((original * f / (2 * math.pi) - low) / (high - low)) for f in plain]
        return [(1 - s) * f / factor + s * f for s, f in zip(smooth, plain, strict=True)], 1.0

    def dimension(turns_wanted: float) -> float:
        return dims * math.log(original / (turns_wanted * 2 * math.pi)) / (2 * math.log(theta))

    first, last = dimension(float(settings.get("beta_fast", 32.0))), dimension(float(settings.get("beta_slow", 1.0)))
    if settings.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dims - 1)
    ramp = [_between((i - first) / max(last - first, 0.001)) for i in range(dims // 2)]
    return [f / factor * r + f * (1 - r) for r, f in zip(ramp, plain, strict=True)], _magnitude(factor, settings)


def _magnitude(factor: float, settings: dict[str, Any]) -> float:
    """Return YaRN's factor on cosines and sines.

    It is the one that is given, or else follows from the logarithm of how far the context was stretched.
    """
    if "attention_factor" in settings:
        return float(settings["attention_factor"])

    def stretched(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0

    above, below = float(settings.get("mscale", 0.0)), float(settings.get("mscale_all_dim", 0.0))
    return stretched(above) / stretched(below) if above and below else stretched(1.0)
