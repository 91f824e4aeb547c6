"""rms_norm for MLX arrays: a Metal kernel where mx.fast has no launch that does it all, mx.fast's elsewhere."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from pylm_kernels.mlx.arguments import rows_to_normalise
from pylm_kernels.mlx.launch import on_metal
from pylm_kernels.ops.rms_norm import metal


def rms_norm(x: Any, weight: Any = None, *, eps: float = 1e-5, offset: float = 0.0, residual: Any = None) -> Any:
    """Return the rows of x divided by their root mean square, times (offset + weight).

    Args:
        x: [..., N].
        weight: [N], of any floating dtype, or None.
        eps: added to the mean square.
        offset: added to the weight, in float32; 1 gives Gemma's 1 + w.
        residual: shaped like x; added to it first, and then the sum is returned too.

    Returns:
        y, or (y, x + residual) when a residual is given.

    Raises:
        ValueError: an argument does not fit the others.
    """
    h = rows_to_normalise(x, {"weight": weight}, residual)
    if x.size and on_metal():
        found = metal.rms_norm(x, weight, residual, float(eps), float(offset))
        return found if residual is None else tuple(found)
    # mx.fast works in the widest dtype it is given: a weight that must not be rounded goes in as float32
    scale = weight if weight is None or offset == 0 else weight.astype(mx.float32) + offset
    y = mx.fast.rms_norm(h, scale, eps).astype(x.dtype)
    return y if residual is None else (y, h)
