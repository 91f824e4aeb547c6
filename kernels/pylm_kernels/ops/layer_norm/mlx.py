"""layer_norm for MLX arrays: mx.fast's one launch."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from pylm_kernels.mlx.arguments import rows_to_normalise


def layer_norm(x: Any, weight: Any = None, bias: Any = None, *, eps: float = 1e-5, residual: Any = None) -> Any:
    """Return the rows of x less their mean, over their standard deviation, times weight plus bias.

    Args:
        x: [..., N].
        weight: [N] or None.
        bias: [N] or None.
        eps: added to the variance.
        residual: shaped like x; added to it first, and then the sum is returned too.

    Returns:
        y, or (y, x + residual) when a residual is given.

    Raises:
        ValueError: an argument does not fit the others.
    """
    h = rows_to_normalise(x, {"weight": weight, "bias": bias}, residual)
    y = mx.fast.layer_norm(h, weight, bias, eps).astype(x.dtype)
    return y if residual is None else (y, h)
