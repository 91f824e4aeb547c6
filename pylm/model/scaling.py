"""Rotary positions that are scaled, as numbers for those who have no Rope of their own."""

from __future__ import annotations

from pylm.config.schema import Model as Shape
from pylm.errors import UsageError

__all__ = ["scaled_frequencies"]


def scaled_frequencies(shape: Shape) -> tuple[list[float], float]:
    """Return each head pair's radians a position, and the factor on cosines and sines; none where nothing is scaled."""
    if shape.rope_scaling is None:
        return [], 1.0
    try:
        from pylm_kernels.operands.frequencies import frequencies
    except ModuleNotFoundError:
        raise UsageError(
            f"this model scales its positions by {shape.rope_scaling['type']}, which pylm_kernels works out, "
            "and it is not installed",
            "pip install ./kernels  (in a clone)",
        ) from None
    assert shape.head_dim
    return frequencies(shape.head_dim, shape.rope_theta, shape.rope_scaling)
