"""Round numbers along an axis."""

from __future__ import annotations

import math

__all__ = ["decades", "spelled", "ticks"]


def ticks(low: float, high: float, most: int = 6, whole: bool = False) -> list[float]:
    """Round numbers from one end to the other: multiples of 1, 2 or 5 times a power of ten, no more than so many."""
    raw = (high - low) / (most - 1)
    scale = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= raw * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)] or [low]


def decades(low: float, high: float) -> list[float]:
    """Numbers from one end of a logarithmic axis to the other: powers of ten, and twice and five times these."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    within = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    within = [number for number in within if low * (1 - 1e-9) <= number <= high * (1 + 1e-9)]
    if len(within) > 8:
        within = [number for number in within if math.isclose(math.log10(number) % 1, 0, abs_tol=1e-9)]
    return within or [low]


def spelled(place: float) -> str:
    """A place along the lower axis in few letters: 1,000, 2.5M, 3e+18."""
    if abs(place) >= 1e15:
        return f"{place:.3g}"
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if abs(place) >= size:
            return f"{place / size:g}{unit}"
    return f"{place:,.0f}" if float(place).is_integer() else f"{place:g}"
